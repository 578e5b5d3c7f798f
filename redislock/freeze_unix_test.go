//go:build unix

package redislock_test

import "syscall"

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
