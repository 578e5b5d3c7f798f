package filelock

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The times of the file are not asked for: since Linux 6.13, a file whose times
// somebody has looked at gets new ones with the next write, which made acquire
// and release take 14 us instead of 11.5 (ext4).
const statMask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_NLINK

// fstat returns the inode of an open file.
func fstat(fd int) (inode, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st)
	if noStatx(err) {
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		return inode{st.Dev, st.Ino, uint64(st.Nlink), st.Mode}, err //nolint:unconvert // 32 bits long on some
	}
	return statxInode(&st), err
}

// lstat returns the inode that a path names, which may be that of a link.
func lstat(path string) (inode, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, statMask, &st)
	if noStatx(err) {
		var st unix.Stat_t
		err = unix.Lstat(path, &st)
		return inode{st.Dev, st.Ino, uint64(st.Nlink), st.Mode}, err //nolint:unconvert // 32 bits long on some
	}
	return statxInode(&st), err
}

func statxInode(st *unix.Statx_t) inode {
	return inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, uint64(st.Nlink), uint32(st.Mode)}
}

// noStatx reports whether the kernel, or the sandbox of an old container
// runtime, knows no statx.
func noStatx(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM))
}
