//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/golocker/locker/internal/inotifytest"
	"github.com/golocker/locker/internal/redistest"
)

const (
	many   = 200 // runs at once
	queued = 20  // runs that begin one after the other
)

// record is a command that records its begin and its end.
const record = `echo "begin $1" >>"$2"; echo "end $1" >>"$2"`

// recorder returns a run that records itself in a file.
func (p *place) recorder(number int, file string) *exec.Cmd {
	return p.locker("run", "--quiet", "x", "--", "sh", "-c", record, "sh", fmt.Sprint(number), file)
}

// recorded returns who has recorded itself, in order, if nobody did beside another.
func recorded(t *testing.T, file string) (order []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		number, ok := strings.CutPrefix(lines[i], "begin ")
		if !ok || lines[i+1] != "end "+number {
			t.Fatalf("%q, then %q", lines[i], lines[i+1])
		}
		order = append(order, number)
	}
	if len(lines)%2 != 0 {
		t.Fatalf("%q is without an end", lines[len(lines)-1])
	}
	return order
}

// Many runs at once all have their turn, one at a time.
func TestManyAtOnce(t *testing.T) {
	inotifytest.UseUp(t)
	p := newPlace(t, "")
	p.bound *= many // each waits for all before it
	file := filepath.Join(t.TempDir(), "record")
	var runs sync.WaitGroup
	for i := range many {
		runs.Go(func() {
			if r := p.end(p.recorder(i, file)); r.status != 0 {
				t.Errorf("%d: %+v", i, r)
			}
		})
	}
	runs.Wait()
	if got := recorded(t, file); len(got) != many {
		t.Errorf("%d have run, want %d", len(got), many)
	}
}

// On Redis, runs that wait have their turns in the order in which they have
// come: each begins to wait when the one before does.
func TestManyInOrder(t *testing.T) {
	s := redistest.Start(t)
	p := newPlace(t, onRedis(s))
	p.bound *= queued // each waits for all before it, and for all that begin after it
	file := filepath.Join(t.TempDir(), "record")
	h := p.hold("x")
	var runs sync.WaitGroup
	for i := range queued {
		cmd := p.recorder(i, file)
		runs.Go(func() {
			if r := p.end(cmd); r.status != 0 {
				t.Errorf("%d: %+v", i, r)
			}
		})
		p.eventually(fmt.Sprintf("%d wait", i+1), func() bool { return s.Do("LLEN", "x:locker:queue") == int64(i+1) })
	}
	h.release()
	runs.Wait()
	got := recorded(t, file)
	for i := range queued {
		if len(got) <= i || got[i] != fmt.Sprint(i) {
			t.Fatalf("the order is %v", got)
		}
	}
}
