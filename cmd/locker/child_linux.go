package main

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A child is the command and all that descends from it. It is no os.Process, whose first
// one forks twice, to find out whether the system has descriptors of processes.
type child struct {
	pid int

	mu     sync.Mutex   // no child of this process is reaped while it is held
	reaped bool         // guarded by mu: pid may be that of another process
	others map[int]bool // guarded by mu: children of this process that are not of the run
	guard  int          // guarded by mu: one of the others, if it runs
	run    *os.File     // ends with this process, and with it the input of the guard
}

// startChild starts the command. The kernel kills it when the thread that has started it
// ends, so that the calling goroutine keeps that from then on.
func startChild(path string, argv, env []string) (*child, error) {
	// What loses its parent becomes a child of this process, whatever group or session it
	// is in. It fails on no Linux that Go runs on.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	c := &child{others: make(map[int]bool)}
	if !childless() {
		// Of the program that was replaced by this one: a shell with >(tee log), or exec.
		for _, pid := range children(os.Getpid()) {
			c.others[pid] = true
		}
	}
	runtime.LockOSThread()
	sys := attributes()
	sys.Pdeathsig = syscall.SIGKILL
	var err error
	c.pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{ //nolint:gosec // which command is for the caller to say
		Env: env, Files: []uintptr{0, 1, 2}, Sys: sys,
	})
	return c, err
}

// childless reports whether this process has no children, dead or alive.
func childless() bool {
	return errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), syscall.ECHILD)
}

// number returns the id of the process.
func (c *child) number() int { return c.pid }

// wait returns the exit status of the command when it has ended.
func (c *child) wait() int {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if status, ended := c.reap(); ended {
			return status
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return statusInternal
		}
	}
}

// reap reaps all children that have ended. If the command is one of them, it returns its
// exit status.
func (c *child) reap() (status int, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || pid == 0:
			return status, ended
		case pid == c.pid && !c.reaped:
			c.reaped, ended = true, true
			if status = s.ExitStatus(); s.Signaled() {
				status = statusSignal + int(s.Signal())
			}
		}
		delete(c.others, pid)
	}
}

// left returns what still runs of the command and all that it has started. Daemons, which
// have a session of their own, are among them if daemons is true.
func (c *child) left(daemons bool) []int {
	c.reap()
	c.mu.Lock()
	defer c.mu.Unlock()
	if childless() {
		return nil
	}
	pids := c.tree()
	if !daemons {
		ours, _ := unix.Getsid(0) // it cannot fail
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			session, err := unix.Getsid(pid)
			return err != nil || session != ours
		})
	}
	return pids
}

// tree returns the processes that the command has started, directly or not, and the
// command. c.mu is held.
func (c *child) tree() (pids []int) {
	for _, pid := range children(os.Getpid()) {
		if !c.others[pid] {
			pids = append(append(pids, pid), descendants(pid)...)
		}
	}
	return pids
}

// signal signals the command alone, unless it has ended.
func (c *child) signal(s os.Signal) {
	number, ok := s.(syscall.Signal)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok && !c.reaped {
		_ = syscall.Kill(c.pid, number)
	}
}

// signalAll signals the command and all that it has started. What belongs to a run within
// it gets the signal from that one, but for SIGKILL.
func (c *child) signalAll(cookie string, s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := false
	for _, pid := range c.tree() {
		if group, err := unix.Getpgid(pid); err == nil && group == c.pid {
			if !told { // all at once, so that none of them starts another meanwhile
				told = true
				send(-c.pid, s)
			}
			continue
		}
		runs := runsOf(pid) // none if it has wiped its environment, or is another user's
		if s == syscall.SIGKILL || len(runs) == 0 || runs[len(runs)-1] == cookie {
			send(pid, s)
		}
	}
}
