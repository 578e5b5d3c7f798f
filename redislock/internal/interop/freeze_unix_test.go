//go:build unix

package interop

import (
	"syscall"
	"testing"
)

func freeze(t *testing.T, p *party) { signal(t, p, syscall.SIGSTOP) }
func thaw(t *testing.T, p *party)   { signal(t, p, syscall.SIGCONT) }

func signal(t *testing.T, p *party, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
