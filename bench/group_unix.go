//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// setProcessGroup keeps the ctrl-C of a terminal away from a server: it would end
// before those who use it.
func setProcessGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
