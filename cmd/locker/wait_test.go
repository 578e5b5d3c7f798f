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
	t := p.T
	h := p.hold("x")
	url := p.url
	if url == "" {
		url = "file://" + p.dir + "/locker"
	}
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--no-wait"}, 1, ""},
		{[]string{"-n", "-E", "0"}, 0, ""},
		{[]string{"--timeout", "0"}, 1, ""},
		{[]string{"--timeout", "10ms"}, 1, "gave up after 10ms"},
		{[]string{"--timeout", "10ms", "--conflict-exit-code", "42"}, 42, "gave up after 10ms"},
		{[]string{"--url", url + "?timeout=10ms"}, 1, "gave up after 10ms"},
		{[]string{"--url", url + "?timeout=1h", "--no-wait"}, 1, ""},
	} {
		r := p.run(append(append([]string{"run"}, tt.args...), "x", "--", "echo", "mine")...)
		r.wantLine(t, tt.status, tt.says)
		if !heldBy(h).MatchString(r.stderr) {
			t.Errorf("%q: %q; want %v", tt.args, r.stderr, heldBy(h))
		}
	}
	h.release()
	p.run("run", "--no-wait", "x", "--", "echo", "mine").want(t, 0, "mine", "")
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
