//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// What is done to the content of a lock file touches neither holder nor waiters.
func TestContentIsNotTheLock(t *testing.T) {
	for how, change := range contentChanges() {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			first, _ := open(t, dir)
			second, d := open(t, dir, wokenOnly())
			third, _ := open(t, dir)
			path := filepath.Join(dir, "name")
			lock := acquire(t, first, "name")
			waiter := acquireLater(t, second, d, "name")

			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if err := lock.Err(); err != nil {
				t.Errorf("Err = %v", err)
			}
			if _, err := third.Acquire(t.Context(), "name", locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Errorf("Acquire = %v, want ErrAlreadyLocked", err)
			}
			release(t, lock)
			next := await(t, waiter)
			if next.Token() <= lock.Token() {
				t.Errorf("token %d after %d", next.Token(), lock.Token())
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := parseRecord(content); !ok || r.token != next.Token() {
				t.Errorf("the file holds %+v, %v; want token %d", r, ok, next.Token())
			}
			release(t, next)
		})
	}
}

// contentChanges are ways to spoil a lock file that stays the same file, and one of ours.
func contentChanges() map[string]func(path string) error {
	write := func(content []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, content, 0o600) }
	}
	return map[string]func(string) error{
		"emptied":     func(path string) error { return os.Truncate(path, 0) },
		"torn":        func(path string) error { return os.Truncate(path, 60) },
		"grown":       func(path string) error { return os.Truncate(path, 1<<20) },
		"zeros":       write(make([]byte, recordSize)),
		"older token": write(appendRecord(nil, record{token: 1, since: time.Unix(0, 0)})),
		"no token":    write(appendRecord(nil, record{token: maxToken + 1, since: time.Unix(0, 0)})),
	}
}

// FuzzContent acquires a lock whose file has any content, as it is and with the
// sum that a record of it had. What is not ours stays as it is.
func FuzzContent(f *testing.F) {
	valid := appendRecord(nil, record{token: 1732385415123456, pid: 1, host: "h", since: time.Unix(0, 0)})
	for _, content := range []string{
		"", "123\n", "{}", string(valid), string(valid[:100]), string(valid) + "more", strings.Repeat("\x00", 300),
		`{"token":`, `{"token":5`, `{"token":-5,`, `{"token":+5,`, `{"token":0x5,`, `{"token":,"pid":`, `{"token":5,"token":6,`,
		`{"token":4611686018427387903,`, `{"token":18446744073709551615,`, `{"token":99999999999999999999,`,
		`{"token":5,"pid":1,"host":"h","since":"never"`, `{"token":5,"pid":1,"host":"h","since":"2026-01-02T15:04:05Z"`,
		`{"token":5,"sum":"00000000"}`, `,"sum":"`, `,"sum":"+1234567"}`,
	} {
		f.Add([]byte(content))
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "name")
	_, d := open(f, dir)
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, content := range [][]byte{content, summed(content)} {
			last, _, known := parseToken(content)
			if r, ok := parseRecord(content); ok && (!known || r.token != last) {
				t.Errorf("%q has token %d, %v; the record %+v", content, last, known, r)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			now := uint64(time.Now().UnixMicro())
			g, err := d.Try(t.Context(), &locker.Attempt{Name: "name"})
			if !isOurs(content[:min(len(content), maxContent+1)]) {
				if after, e := os.ReadFile(path); !errors.Is(err, errForeign) || e != nil || !bytes.Equal(after, content) {
					t.Errorf("%q has become %q, %v; Try = %v", content, after, e, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%q: %v", content, err)
			}
			if g.Token <= last || g.Token < now {
				t.Errorf("%q: token %d after %d, at %d", content, g.Token, last, now)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(after[recordSize:], content[min(recordSize, len(content)):]) {
				t.Errorf("%q has become %q", content, after)
			}
			if err := g.Hold.Release(t.Context()); err != nil {
				t.Error(err)
			}
			if last == maxToken {
				continue // which no token that is valid exceeds
			}
			if r, ok := parseRecord(after); !ok || r.token != g.Token {
				t.Errorf("%q: the file holds %+v, %v; want token %d", content, r, ok, g.Token)
			}
		}
	})
}

// summed returns a record that begins with content.
func summed(content []byte) []byte {
	b := bytes.Clone(content[:min(len(content), recordSize-20)])
	b = fmt.Appendf(b, `,"sum":"%08x"}`, crc32.ChecksumIEEE(b))
	return append(b, bytes.Repeat([]byte(" "), recordSize-len(b))...)
}

func TestProcessesExcludeEachOtherWhateverTheFileHolds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "name")
	var changes []func(string) error
	for how, change := range contentChanges() {
		switch how {
		case "grown": // makes what is not ours of an empty file: megabytes of zero bytes
		case "older token": // hides a hold that came and went since the file was opened
		default:
			changes = append(changes, change)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // else a change makes it, in place of a holder
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var changing sync.WaitGroup
	defer changing.Wait()
	defer close(stop)
	changing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				t.Logf("changed %d times", n)
				return
			case <-time.After(time.Duration(rand.IntN(1000)) * time.Microsecond):
			}
			if err := changes[rand.IntN(len(changes))](path); err != nil {
				t.Error(err)
			}
		}
	})
	countTogether(t, dir)
}
