//go:build unix

package main

import (
	"os"

	"syscall"

	"golang.org/x/sys/unix"
)

// forwarded returns the signals that are for the command, too.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

// ends reports whether a signal ends the wait for a lock.
func ends(s os.Signal) bool { return s != syscall.SIGUSR1 && s != syscall.SIGUSR2 }

// number returns the number of a signal.
func number(s os.Signal) int {
	n, _ := s.(syscall.Signal)
	return int(n)
}

// pass passes a signal on that this process has got. The ones of the keyboard have
// reached the command already, if it is in the foreground with this process.
func (c *child) pass(s os.Signal) {
	if (s == syscall.SIGINT || s == syscall.SIGQUIT) && inForeground() {
		return
	}
	c.signal(s)
}

// inForeground reports whether the keyboard sends its signals to our process group.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// terminate asks the command, and what it has started, to end.
func (c *child) terminate(cookie string) { c.signalAll(cookie, syscall.SIGTERM) }

// kill ends the command, and what it has started.
func (c *child) kill(cookie string) { c.signalAll(cookie, syscall.SIGKILL) }
