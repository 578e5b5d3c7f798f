//go:build unix

package main

import (
	"os"
	"os/signal"
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

// attributes returns how the command is started. At a terminal it stays in our process
// group, as the shell sees to what is in the foreground. Where there is none, it has a
// group of its own: who signals ours, as timeout(1) does, would else have signalled the
// command once himself, and once through us.
func attributes() *syscall.SysProcAttr {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(tty)
	}
	return &syscall.SysProcAttr{Setpgid: err != nil}
}

// pass passes a signal on that this process has got: one that asks to end to all that the
// command has started, and others to the command. The ones of the keyboard have reached
// them already, if they are in the foreground with this process.
func (c *child) pass(cookie string, s os.Signal) {
	switch number, ok := s.(syscall.Signal); {
	case !ok || !ends(s):
		c.signal(s)
	case s != syscall.SIGINT && s != syscall.SIGQUIT || !c.inForeground():
		c.signalAll(cookie, number)
	}
}

// inForeground reports whether the keyboard sends its signals to our process group, and
// the command is in it.
func (c *child) inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return false
	}
	theirs, err := unix.Getpgid(c.number())
	return err == nil && theirs == group
}

// catchBrokenPipe has a write to a pipe that nobody reads be an error, and not our end.
// (To ignore the signal would have the command ignore it.)
func catchBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// send signals a process or a group, which may just have ended.
func send(pid int, s syscall.Signal) {
	_ = syscall.Kill(pid, s)
	if s == syscall.SIGTERM {
		_ = syscall.Kill(pid, syscall.SIGCONT) // else it would not notice while it is stopped
	}
}

// terminate asks the command, and what it has started, to end.
func (c *child) terminate(cookie string) { c.signalAll(cookie, syscall.SIGTERM) }

// kill ends the command, and what it has started.
func (c *child) kill(cookie string) { c.signalAll(cookie, syscall.SIGKILL) }
