package main

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A child is the command. It is no os.Process, whose first one forks twice, to find out
// whether the system has descriptors of processes.
type child struct {
	pid int

	mu     sync.Mutex
	reaped bool // guarded by mu: pid may be that of another process
}

// startChild starts the command. The kernel kills it when the thread that has started it
// ends, so that the calling goroutine keeps that from then on.
func startChild(path string, argv, env []string) (*child, error) {
	runtime.LockOSThread()
	sys := attributes()
	sys.Pdeathsig = syscall.SIGKILL
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{ //nolint:gosec // which command is for the caller to say
		Env: env, Files: []uintptr{0, 1, 2}, Sys: sys,
	})
	if err != nil {
		return nil, err
	}
	return &child{pid: pid}, nil
}

// number returns the id of the process.
func (c *child) number() int { return c.pid }

// wait returns the exit status of the command when it has ended.
func (c *child) wait() int {
	for errors.Is(unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), syscall.EINTR) {
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reaped = true
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.pid, &status, 0, nil) // it has ended: this does not block
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return statusInternal
		case status.Signaled():
			return statusSignal + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}

// signal signals the command, unless it has ended.
func (c *child) signal(s os.Signal) {
	number, ok := s.(syscall.Signal)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok && !c.reaped {
		_ = syscall.Kill(c.pid, number)
	}
}

// signalAll signals the command and then what it has started, of which the command may
// make what it likes. What belongs to a run within it is told to end by that one.
func (c *child) signalAll(cookie string, s syscall.Signal) {
	started := descendants(c.pid)
	c.signal(s)
	for _, pid := range processes() {
		runs := runsOf(pid)
		var ours bool
		switch {
		case len(runs) == 0: // it may have wiped its environment
			ours = slices.Contains(started, pid)
		case s == syscall.SIGKILL:
			ours = slices.Contains(runs, cookie)
		default:
			ours = runs[len(runs)-1] == cookie
		}
		if ours && pid != c.pid {
			_ = syscall.Kill(pid, s) // unless it has just ended
		}
	}
}

// bury waits, after the command has ended whose lock was lost, until nothing is left of
// what it had started; from the deadline on, it kills that. Without a loss, the deadline
// is zero.
func (*child) bury(cookie string, deadline time.Time) {
	if deadline.IsZero() {
		return
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if len(ofRun(cookie)) == 0 {
			return
		}
		if !time.Now().Before(deadline) {
			killRun(cookie)
			return
		}
		time.Sleep(pause)
	}
}
