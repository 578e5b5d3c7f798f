//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// openFile opens the lock file to look at it, and makes it if there is none.
func openFile(path string) (*file, error) {
	f, err := openOrMake(path, unix.O_RDONLY)
	if err != nil {
		return nil, openError(path, err)
	}
	if err := f.refuseForeign(); err != nil {
		_ = f.close()
		return nil, openError(path, err)
	}
	return f, nil
}

// openToLock opens a lock file to lock it, as toLock does. It returns nil if there is none.
func openToLock(path string) (*file, error) {
	f, err := openAs(path, unix.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, openError(path, err)
	}
	f.writable = true
	return f, nil
}

// openToRead opens a lock file to look at it. It returns nil if there is none.
func openToRead(path string) (*file, error) {
	f, err := openAs(path, unix.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, openError(path, err)
	}
	_, err = f.inPlace()
	if err == nil {
		err = f.refuseForeign()
	}
	if err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// toLock returns the file that is to be locked, which is open for writing: when a holder
// closes such a file, or dies, that is the event that wakes waiters. It is nil while
// another has the lock: an attempt that fails opens nothing for writing, as its closing
// would be an event, too.
//
// Whether the lock is free, it asks as a reader, which attempts of others tell from a
// holder.
func (f *file) toLock() (*file, error) {
	if f.writable {
		return f, nil
	}
	held, err := f.isLocked()
	if held && f.inode.links == 0 { // the first look
		err = f.mayWrite()
	}
	if held || err != nil {
		return nil, err
	}
	w, err := openOrMake(f.path, unix.O_RDWR)
	if err != nil {
		return nil, openError(f.path, err)
	}
	_ = f.close()
	w.writable = true
	return w, nil
}

// mayWrite returns an error if f cannot be locked by this user when it is free.
func (f *file) mayWrite() error {
	err := uninterrupted(func() error { return unix.Faccessat(unix.AT_FDCWD, f.path, unix.W_OK, unix.AT_EACCESS) })
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return openError(f.path, &fs.PathError{Op: "open", Path: f.path, Err: err})
}

// openOrMake opens a file, which it makes first if there is none, but not by opening it:
// with O_CREAT, Linux refuses another user's file in a sticky directory, to root as well
// (fs.protected_regular).
func openOrMake(path string, access int) (f *file, err error) {
	for range maxReplaced {
		f, err = openAs(path, access)
		if errors.Is(err, fs.ErrPermission) && awaitMode(path) {
			f, err = openAs(path, access)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err := makeFile(path); err != nil {
			return nil, err
		}
	}
	return f, err
}

// How long makeFile has for the mode of a file, and how soon one looks again.
const (
	makerLimit = time.Second
	makerTime  = time.Millisecond
)

// awaitMode reports whether the group that shares a directory can open a file there. One
// that makeFile has just made may be closed to it for a moment, by the umask.
func awaitMode(path string) bool {
	mode, err := fileMode(filepath.Dir(path))
	if err != nil || mode != groupMode {
		return false
	}
	for {
		info, err := os.Lstat(path)
		switch {
		case err != nil:
			return false
		case info.Mode().Perm()&groupMode == groupMode:
			return true
		case info.Size() > 0 || time.Since(info.ModTime()).Abs() > makerLimit:
			return false
		}
		time.Sleep(makerTime)
	}
}

func openAs(path string, access int) (*file, error) {
	f := &file{path: path, openedAt: time.Now()}
	err := uninterrupted(func() (err error) {
		f.fd, err = unix.Open(path, access|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// openError is why a file could not be opened, or read.
func openError(path string, err error) error {
	if info, e := os.Lstat(path); e == nil && !info.Mode().IsRegular() {
		return errNotRegular(path, info.Mode())
	}
	return err
}
