//go:build unix && !linux

package main

import (
	"errors"
	"os"
	"syscall"
)

// A child is the command, and what is in its process group, if that is its own.
type child struct {
	*os.Process
	group bool // it has a group of its own
}

func startChild(path string, argv, env []string) (*child, error) {
	sys := attributes()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: sys})
	if err != nil {
		return nil, err
	}
	return &child{p, sys.Setpgid}, nil
}

// number returns the id of the process.
func (c *child) number() int { return c.Pid }

// wait returns the exit status of the command when it has ended.
func (c *child) wait() int {
	state, err := c.Wait()
	if err != nil {
		return statusInternal
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return statusSignal + int(status.Signal())
	}
	return state.ExitCode()
}

// left returns the group, if any process is left in it after the command has ended.
func (c *child) left(bool) []int {
	if !c.group || errors.Is(syscall.Kill(-c.Pid, 0), syscall.ESRCH) {
		return nil
	}
	return []int{c.Pid}
}

// signal signals the command alone, unless it has ended.
func (c *child) signal(s os.Signal) { _ = c.Signal(s) }

// signalAll signals the group of the command. At a terminal that is ours, which others are
// in as well: the command alone then.
func (c *child) signalAll(_ string, s syscall.Signal) {
	if !c.group {
		c.signal(s)
		return
	}
	send(-c.Pid, s)
}
