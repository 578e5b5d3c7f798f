//go:build aix || (solaris && !illumos)

package filelock

import "golang.org/x/sys/unix"

// openFlags keep a lock file from being a link, and a pipe from blocking.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK
