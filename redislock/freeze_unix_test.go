//go:build unix

package redislock_test

import (
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/golocker/locker/internal/redistest"
)

// freeze returns when the process has stopped: a signal may take a while.
func (p *process) freeze() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err == syscall.EINTR { //nolint:errorlint // an errno
			continue
		}
		if err != nil || !status.Stopped() {
			p.t.Fatalf("the child does not stop: %v, %v", status, err)
		}
		return
	}
}

func (p *process) thaw() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// freezeServer has a server say nothing until thaw is called.
func freezeServer(t *testing.T, s *redistest.Server) (thaw func()) {
	t.Helper()
	_, rest, _ := strings.Cut(s.Do("INFO", "server").(string), "process_id:")
	text, _, _ := strings.Cut(rest, "\r")
	pid, err := strconv.Atoi(text)
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(thaw)
	return thaw
}
