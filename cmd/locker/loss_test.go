//go:build unix

package main

import (
	"os"
	"strconv"
	"testing"
)

func pid(c *process) string { return strconv.Itoa(c.Process.Pid) }

// lose takes the lock of a run from it.
func (p *place) lose(name string) {
	p.Helper()
	if err := os.Remove(p.file(name)); err != nil {
		p.Fatal(err)
	}
}

func TestLoss(t *testing.T) {
	const (
		heedless = `trap "" TERM; ` + idle
		polite   = `trap 'echo bye; exit 3' TERM; ` + idle
		patient  = `trap 'echo told; exit 5' TERM; echo ready; read line; exit 3`
	)
	for _, tt := range []struct {
		name    string
		args    []string
		command string
		status  int
		stdout  string
		says    string
	}{
		{"SIGTERM", nil, polite, 75, "bye", "is told to end"},
		{"SIGKILL after the grace", []string{"--grace", "50ms"}, heedless, 75, "", "is told to end"},
		{"SIGKILL", []string{"--on-loss", "kill"}, polite, 75, "", "is killed"},
		{"another status", []string{"--on-loss=term", "--lost-exit-code", "9"}, polite, 9, "bye", "is told to end"},
		{"quiet", []string{"--quiet"}, polite, 75, "bye", "is told to end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, "")
			c := p.start(append(append([]string{"run", "x"}, tt.args...), "--", "sh", "-c", tt.command)...)
			c.said(c.stdout, "ready")
			p.lose("x")
			r := c.ended()
			r.want(t, tt.status, tt.stdout, tt.says+": lock lost: ") // the shell may say something, too
			r.want(t, tt.status, "", "deleted or replaced")
		})
	}
	t.Run("ignored", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t, "")
		c := p.start("run", "x", "--on-loss", "ignore", "--", "sh", "-c", patient)
		c.said(c.stdout, "ready")
		p.lose("x")
		c.said(c.stderr, `the lock "x" is lost, and the command goes on without it`)
		_ = c.input.Close()
		c.ended().want(t, 3, "", "")
	})
	t.Run("noticed after the end", func(t *testing.T) {
		t.Parallel()
		p := newPlace(t, "")
		p.run("run", "x", "--", "rm", p.file("x")).wantLine(t, 75, "was lost while the command ran")
		p.run("run", "--on-loss", "ignore", "x", "--", "rm", p.file("x")).wantLine(t, 0, "was lost while the command ran")
	})
}

// A Break that a signal ends keeps the next one out until the holder has had its time.
func TestBreakIsInterrupted(t *testing.T) {
	p := newPlace(t, "")
	const deaf = `trap "" TERM; ` + idle
	c := p.start("run", "--on-loss", "ignore", "x", "--", "sh", "-c", deaf)
	c.said(c.stdout, "ready")
	before, err := os.Stat(p.file("x"))
	if err != nil {
		t.Fatal(err)
	}
	b := p.start("break", "--yes", "x")
	p.eventually("the file is replaced", func() bool {
		now, err := os.Stat(p.file("x"))
		return err == nil && !os.SameFile(before, now)
	})
	_ = b.Process.Signal(os.Interrupt) // unless it has ended
	if r := b.ended(); r.status != 130 && r.status != 0 {
		t.Errorf("%+v, want status 130, or 0 if it was too late", r)
	}
	c.said(c.stderr, `the lock "x" is lost`)
}
