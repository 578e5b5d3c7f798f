//go:build unix && !linux

package filelock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isAlive reports whether there is a process with an id.
func isAlive(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}
