//go:build darwin || dragonfly || freebsd || illumos || netbsd || openbsd

package filelock

import "golang.org/x/sys/unix"

// fstat returns the inode of an open file.
func fstat(fd int) (inode, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return inode{uint64(st.Dev), uint64(st.Ino), uint64(st.Nlink), uint32(st.Mode)}, err //nolint:gosec,unconvert // the types differ
}

// lstat returns the inode that a path names, which may be that of a link.
func lstat(path string) (inode, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return inode{uint64(st.Dev), uint64(st.Ino), uint64(st.Nlink), uint32(st.Mode)}, err //nolint:gosec,unconvert // the types differ
}
