//go:build !unix

package main

import "os"

// forwarded returns the signals that the command gets as well, from the console.
func forwarded() []os.Signal { return []os.Signal{os.Interrupt} }

// catchBrokenPipe does nothing: a pipe that nobody reads ends no process here.
func catchBrokenPipe() {}

// ends reports whether a signal ends the wait for a lock.
func ends(os.Signal) bool { return true }

// number returns the number of a signal, which is always that of an interrupt.
func number(os.Signal) int { return 2 }

// A child is the command.
type child struct{ *os.Process }

func startChild(path string, argv, env []string) (*child, error) {
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return nil, err
	}
	return &child{p}, nil
}

// wait returns the exit status of the command when it has ended.
func (c *child) wait() int {
	state, err := c.Wait()
	if err != nil {
		return statusInternal
	}
	return state.ExitCode()
}

// left returns nothing: what the command has started is not known here.
func (*child) left(bool) []int { return nil }

// pass does nothing: the console has told the command.
func (*child) pass(string, os.Signal) {}

// terminate ends the command: there is no way to ask it.
func (c *child) terminate(cookie string) { c.kill(cookie) }

func (c *child) kill(string) { _ = c.Kill() }
