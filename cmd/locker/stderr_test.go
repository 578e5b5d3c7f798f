//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// mute starts a run whose standard error is w, and which says when it is ready.
func (p *place) mute(w *os.File, args ...string) *process {
	p.Helper()
	cmd := p.locker(args...)
	c := &process{Cmd: cmd, place: p}
	c.stdout = pipe(p, &cmd.Stdout)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	_ = cmd.Stdout.(*os.File).Close()
	p.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c.said(c.stdout, "ready")
	return c
}

func (p *place) pipe() (r, w *os.File) {
	p.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// What is told goes to nobody when standard error is stuck; the command ends all the same.
func TestLossWhileStandardErrorIsStuck(t *testing.T) {
	p := newPlace(t, "")
	_, w := p.pipe()
	raw := int(w.Fd())
	if err := syscall.SetNonblock(raw, true); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := syscall.Write(raw, make([]byte, 4096)); errors.Is(err, syscall.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.SetNonblock(raw, false); err != nil {
		t.Fatal(err)
	}
	c := p.mute(w, "run", "--on-loss", "kill", "x", "--", "sh", "-c", idle)
	p.lose("x")
	_ = c.Wait() // the status says it
	if status := c.ProcessState.ExitCode(); status != 75 {
		t.Errorf("status %d, want 75", status)
	}
}

// And nobody who reads standard error any more is no reason to end.
func TestLossWhileNobodyReadsStandardError(t *testing.T) {
	p := newPlace(t, "")
	r, w := p.pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	cleaned := filepath.Join(p.dir, "cleaned")
	const careful = `trap 'sleep 1; echo >"$1"; exit 3' TERM; exec 2>/dev/null; ` + idle
	c := p.mute(w, "run", "x", "--", "sh", "-c", careful, "sh", cleaned)
	p.lose("x")
	_ = c.Wait() // the status says it
	if status := c.ProcessState.ExitCode(); status != 75 {
		t.Errorf("status %d, want 75", status)
	}
	if _, err := os.Stat(cleaned); err != nil {
		t.Errorf("the command had no time to end: %v", err)
	}
}
