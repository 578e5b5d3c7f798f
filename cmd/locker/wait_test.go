//go:build unix

package main

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// heldBy is who holds a lock, as people are told it.
func heldBy(c *process) *regexp.Regexp {
	host, _ := os.Hostname()
	return regexp.MustCompile(`held by pid ` + pid(c) + ` on ` + regexp.QuoteMeta(host) + ` since \d\d:\d\d:\d\d \(\d+ s\)`)
}

func TestRunWaits(t *testing.T) { backends(t, testRunWaits) }

func testRunWaits(p *place) {
	t := p.T
	h := p.hold("x")
	w := p.start("run", "x", "--", "echo", "mine")
	if line := w.said(w.stderr, "waiting for"); !heldBy(h).MatchString(line) || !strings.HasPrefix(line, `locker: waiting for "x": `) {
		t.Errorf("%q; want %v", line, heldBy(h))
	}
	h.release()
	w.ended().want(t, 0, "mine", "")
}

func TestRunQuiet(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	for _, args := range [][]string{
		{"run", "--quiet", "--no-wait", "x", "--", "true"},
		{"run", "-q", "--timeout", "150ms", "x", "--", "true"},
	} {
		r := p.run(args...)
		r.want(t, 1, "", "")
		if r.stderr != "" {
			t.Errorf("%q: %q", args, r.stderr)
		}
	}
	h.release()
}

func TestRunConflict(t *testing.T) { backends(t, testRunConflict) }

func testRunConflict(p *place) {
	h := p.hold("x")
	p.conflicts(h, []conflict{
		{[]string{"--no-wait"}, 1, ""},
		{[]string{"-n", "-E", "0"}, 0, ""},
		{[]string{"--timeout", "0"}, 1, ""},
	})
	h.release()
	p.run("run", "--no-wait", "x", "--", "echo", "mine").want(p.T, 0, "mine", "")
}

// With files: a Redis cannot be relied on to say within milliseconds that a lock is held.
func TestRunGivesUp(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	url := "file://" + p.dir + "/locker"
	p.conflicts(h, []conflict{
		{[]string{"--timeout", "10ms"}, 1, "gave up after 10ms"},
		{[]string{"--timeout", "10ms", "--conflict-exit-code", "42"}, 42, "gave up after 10ms"},
		{[]string{"--url", url + "?timeout=10ms"}, 1, "gave up after 10ms"},
		{[]string{"--url", url + "?timeout=1h", "--no-wait"}, 1, ""},
	})
	h.release()
}

// A conflict is what a run says whose lock another holds.
type conflict struct {
	args   []string
	status int
	says   string
}

func (p *place) conflicts(holder *process, all []conflict) {
	p.Helper()
	for _, c := range all {
		r := p.run(append(append([]string{"run"}, c.args...), "x", "--", "echo", "mine")...)
		r.wantLine(p.T, c.status, c.says)
		if !heldBy(holder).MatchString(r.stderr) {
			p.Errorf("%q: %q; want %v", c.args, r.stderr, heldBy(holder))
		}
	}
}

// A signal ends the wait, and nothing is left of it.
func TestSignalEndsWait(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		w := p.start("run", "x", "--", "echo", "mine")
		w.said(w.stderr, "waiting for")
		if err := w.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		r := w.ended()
		r.want(t, 128+int(s), "", "")
		if r.stdout+r.stderr != "" {
			t.Errorf("%v: %+v", s, r)
		}
	}
	h.release()
}

// Signals are for the command, which may do with them what it likes.
func TestSignalsArePassedOn(t *testing.T) {
	p := newPlace(t, "")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		cmd := p.locker("run", "x", "--", "sh", "-c", `trap 'kill $!; echo got; exit 7' INT QUIT TERM HUP USR1 USR2; `+idle)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not that of a terminal
		c := p.launch(cmd)
		c.said(c.stdout, "ready")
		if err := c.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		c.ended().want(t, 7, "got", "")
	}
}

// What the caller ignores, the command ignores as well.
func TestIgnoredSignals(t *testing.T) {
	p := newPlace(t, "")
	cmd := p.locker()
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh", cmd.Path}, "run", "x", "--", "sh", "-c", "kill -HUP $PPID; kill -HUP $$; echo alive")
	cmd.Path = "/bin/sh"
	p.end(cmd).want(t, 0, "alive", "")
}
