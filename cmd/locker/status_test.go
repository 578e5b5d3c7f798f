//go:build unix

package main

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestStatusTable(t *testing.T) { backends(t, testStatusTable) }

func testStatusTable(p *place) {
	t := p.T
	p.run("status").want(t, 0, "NAME  HOLDER", "")
	b, a := p.hold("b"), p.hold("a")
	w := p.start("run", "a", "--", "true")
	w.said(w.stderr, "waiting for")

	host, _ := os.Hostname()
	rows := func(r result) (rows [][]string) {
		r.want(t, 0, "", "")
		for line := range strings.Lines(r.stdout) {
			rows = append(rows, strings.Fields(line))
		}
		return rows
	}
	all := rows(p.run("status"))
	if len(all) != 3 || all[0][0] != "NAME" || all[1][0] != "a" || all[2][0] != "b" {
		t.Fatalf("%q", all)
	}
	row := all[1]
	if row[2] != pid(a) || row[3] != host || !counts(p, row[len(row)-1], "1") {
		t.Errorf("%q; want pid %s on %s, and 1 that waits", row, pid(a), host)
	}
	named := rows(p.run("status", "free", "b"))
	if len(named) != 3 || strings.Join(named[1][:5], " ") != "free free - - -" || !counts(p, named[1][5], "0") || named[2][0] != "b" {
		t.Errorf("%q", named)
	}
	a.release()
	w.ended().want(t, 0, "", "")
	b.release()
}

// counts reports whether a number of waiters is shown as it should be: where the system
// tells it, as Linux does of files.
func counts(p *place, got, want string) bool {
	return got == want || got == "?" && p.url == "" && runtime.GOOS != "linux"
}

func TestStatusJSON(t *testing.T) { backends(t, testStatusJSON) }

func testStatusJSON(p *place) {
	t := p.T
	before := time.Now()
	h := p.hold("a name")
	r := p.run("status", "--json", "a name", "free")
	r.want(t, 0, "", "")
	var got []struct {
		Name   string
		Held   bool
		Holder *struct {
			Host  string
			PID   int
			Since time.Time
			Token uint64
		}
		Waiters *int
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) != 2 {
		t.Fatalf("%q: %v", r.stdout, err)
	}
	a, free := got[0], got[1]
	host, _ := os.Hostname()
	if a.Name != "a name" || !a.Held || a.Holder == nil || a.Holder.Host != host || a.Holder.PID != h.Process.Pid || a.Holder.Token == 0 ||
		a.Holder.Since.Before(before) || a.Holder.Since.After(time.Now()) || a.Waiters != nil && *a.Waiters != 0 {
		t.Errorf("%s", r.stdout)
	}
	if free.Name != "free" || free.Held || free.Holder != nil {
		t.Errorf("%s", r.stdout)
	}
	h.release()
	if r := p.run("status", "--json"); r.stdout != "[]\n" {
		t.Errorf("%q", r.stdout)
	}
}

func TestStatusWatch(t *testing.T) {
	p := newPlace(t, "")
	w := p.start("status", "--watch", "--interval", "100ms", "x")
	w.said(w.stdout, "free")
	h := p.hold("x")
	w.said(w.stdout, "pid "+pid(h))
	h.release()
	w.said(w.stdout, "free")
	if err := w.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	w.ended().want(t, 0, "", "")
}

func TestBreak(t *testing.T) { backends(t, testBreak) }

func testBreak(p *place) {
	t := p.T
	h := p.hold("x")
	p.run("break", "x").wantLine(t, 2, "want --yes")
	p.run("break").wantLine(t, 2, "want the name of one lock")
	p.run("run", "--no-wait", "x", "--", "true").want(t, 1, "", "held by pid "+pid(h)) // it has kept it
	r := p.run("break", "--yes", "x")
	r.want(t, 0, `"x" was taken from pid `+pid(h), "")
	h.ended().want(t, 75, "", `the lock "x" is lost`)
	p.run("break", "--yes", "x").want(t, 0, `"x" is free`, "")
}

// What a name may have in it does nothing to a terminal.
func TestStatusIsPrintable(t *testing.T) {
	p := newPlace(t, "")
	r := p.run("status", "\x1b[2Ja\nb\tc")
	r.want(t, 0, `"\x1b[2Ja\nb\tc"`, "")
	p.run("run", "\x1b[2J", "--", "no-such-\x1b[2J").wantLine(t, 127, "no-such-?[2J")
}
