//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Without a terminal, a signal to the process group of locker comes once.
func TestSignalToTheGroup(t *testing.T) {
	p := newPlace(t, "")
	told, end := filepath.Join(p.dir, "told"), filepath.Join(p.dir, "end")
	const counting = `trap 'echo told >>"$1"' TERM; echo ready; while [ ! -e "$2" ]; do sleep 0.05; done`
	cmd := p.locker("run", "x", "--", "sh", "-c", counting, "sh", told, end)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c := p.launch(cmd)
	c.said(c.stdout, "ready")
	if err := syscall.Kill(-c.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.eventually("the command is told", func() bool { _, err := os.Stat(told); return err == nil })
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.ended().want(t, 0, "", "")
	text, err := os.ReadFile(told)
	if err != nil || strings.Count(string(text), "told") != 1 {
		t.Errorf("%q, %v, want it to be told once", text, err)
	}
}
