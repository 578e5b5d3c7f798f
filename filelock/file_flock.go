//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// A file is a lock file that is open. Its lock is that of flock(2), which is
// advisory, so that the record is kept in the file itself.
//
// The lock is taken on a descriptor of our own and not with gofrs/flock, which
// does not give its descriptor away: the record would take another one. And it opens the
// file anew for each try, and for writing, whose closing wakes all who wait.
type file struct {
	path     string
	fd       int
	writable bool  // open for writing, as it is while it is locked
	shared   bool  // the last try has met nobody but readers
	inode    inode // known after the first look
	openedAt time.Time
	lockedAt time.Time // when it was in its place for sure, or before
}

// An inode is what a path or a descriptor refers to.
type inode struct {
	dev, ino uint64
	links    uint64 // how many names it has
	mode     uint32
}

// tryLock reports whether it has locked f. It does not wait.
func (f *file) tryLock() (bool, error) {
	err := uninterrupted(func() error { return unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return true, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return false, &fs.PathError{Op: "flock", Path: f.path, Err: err}
}

// isLocked reports whether somebody has the lock of f, which is not locked.
func (f *file) isLocked() (bool, error) {
	err := uninterrupted(func() error { return unix.Flock(f.fd, unix.LOCK_SH|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err == nil {
		err = unix.Flock(f.fd, unix.LOCK_UN)
	}
	if err != nil {
		err = &fs.PathError{Op: "flock", Path: f.path, Err: err}
	}
	return false, err
}

// inPlace reports whether newcomers find f by its path. The first look, right after the
// opening, asks the file alone, which takes a third of the time: one that was deleted or
// replaced has no name any more. One that is moved elsewhere just then is lost, as one
// that is moved while it is locked, and has the smaller token, by the time of the opening. A file with
// further names is looked for by its path.
func (f *file) inPlace() (bool, error) {
	if f.inode.links > 0 {
		return f.named()
	}
	f.lockedAt = f.openedAt
	err := uninterrupted(func() (err error) {
		f.inode, err = fstat(f.fd)
		return err
	})
	if err != nil {
		return false, &fs.PathError{Op: "stat", Path: f.path, Err: err}
	}
	switch f.inode.mode & unix.S_IFMT {
	case unix.S_IFREG:
		if f.inode.links > 1 {
			return f.named()
		}
		return f.inode.links > 0, nil
	case unix.S_IFIFO:
		return false, errNotRegular(f.path, fs.ModeNamedPipe)
	default:
		return false, errNotRegular(f.path, fs.ModeIrregular)
	}
}

// named reports whether the path still names f. While f is open its inode cannot
// become that of another file.
func (f *file) named() (bool, error) {
	var there inode
	err := uninterrupted(func() (err error) {
		there, err = lstat(f.path)
		return err
	})
	if err == nil {
		return there.dev == f.inode.dev && there.ino == f.inode.ino, nil
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return false, &fs.PathError{Op: "lstat", Path: f.path, Err: err}
}

// mayOverwrite refuses another directory's file: one that has further names and
// no valid record is not a lock, but somebody's link to what he may not write.
func (f *file) mayOverwrite(valid bool) error {
	if f.inode.links <= 1 || valid {
		return nil
	}
	return &fs.PathError{Op: "open", Path: f.path, Err: errors.New("refused as a lock file: it is a hard link to a file that is none")}
}

// recordPath is that of the file that the record is in.
func (f *file) recordPath() string { return f.path }

// readRecord reads what may be a record into buf, and returns its length.
func (f *file) readRecord(buf []byte) (n int, err error) {
	err = uninterrupted(func() (err error) {
		n, err = unix.Pread(f.fd, buf, 0)
		return err
	})
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.path, Err: err}
	}
	return n, nil
}

// writeRecord writes in place: truncating the file would cost more than all the
// rest of an attempt.
func (f *file) writeRecord(rec []byte) error {
	var n int
	err := uninterrupted(func() (err error) {
		n, err = unix.Pwrite(f.fd, rec, 0)
		return err
	})
	if err == nil && n < len(rec) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: f.path, Err: err}
	}
	return nil
}

// close drops the lock, if f has it, and closes f. The unlock is not left to the
// closing, which drops nothing while a child that is being started still has the
// descriptor, and whose event comes before the lock is dropped.
func (f *file) close() error {
	if f.writable {
		_ = unix.Flock(f.fd, unix.LOCK_UN)
	}
	if err := unix.Close(f.fd); err != nil && !errors.Is(err, unix.EINTR) { // after EINTR it is closed, too
		return &fs.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}

// uninterrupted calls fn until no signal interrupts it.
func uninterrupted(fn func() error) error {
	for {
		if err := fn(); err == nil || !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
