//go:build unix && !linux

package main

import (
	"os"
	"syscall"
)

// A child is the command.
type child struct{ *os.Process }

func startChild(path string, argv, env []string) (*child, error) {
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attributes()})
	if err != nil {
		return nil, err
	}
	return &child{p}, nil
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

// signal signals the command, unless it has ended.
func (c *child) signal(s os.Signal) { _ = c.Signal(s) }

// signalAll signals the command: what it has started is not known here.
func (c *child) signalAll(_ string, s syscall.Signal) { c.signal(s) }
