//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package filelock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// A file is a lock file that is locked by gofrs/flock. Where that lock keeps
// readers out (Windows), or is dropped when any descriptor of the file is closed
// (the fcntl locks of Solaris and AIX), the record cannot be in the file itself.
type file struct {
	path     string
	lock     *flock.Flock
	info     fs.FileInfo // of the locked file; nil before
	lockedAt time.Time   // when it was in its place for sure, or before
}

// openFile prepares the lock file; it is opened when it is tried to lock.
func openFile(path string) (*file, error) {
	if err := refuseIrregular(path); err != nil {
		return nil, err
	}
	const flags = os.O_RDWR | os.O_CREATE | openFlags
	return &file{path: path, lock: flock.New(path, flock.SetFlag(flags), flock.SetPermissions(0o600))}, nil
}

// openToRead prepares a lock file to look at it. It returns nil if there is none.
func openToRead(path string) (*file, error) {
	if err := refuseIrregular(path); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &file{path: path, lock: flock.New(path, flock.SetFlag(os.O_RDONLY))}, nil
}

func refuseIrregular(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNotRegular(path, info.Mode())
	}
	return nil
}

// tryLock reports whether it has locked f. It does not wait.
func (f *file) tryLock() (bool, error) {
	locked, err := f.lock.TryLock()
	if err == nil && locked {
		f.info, err = f.lock.Stat()
	}
	if _, ok := errors.AsType[*fs.PathError](err); err != nil && !ok {
		err = &fs.PathError{Op: "lock", Path: f.path, Err: err}
	}
	return locked && err == nil, err
}

// isLocked reports whether somebody has the lock of f, which is not locked.
func (f *file) isLocked() (bool, error) {
	free, err := f.lock.TryRLock()
	if err == nil && free {
		err = f.lock.Unlock()
	}
	return !free && err == nil, err
}

// breakFile is not to be had: a file that a process has open cannot be replaced here.
func (*driver) breakFile(context.Context, string) error {
	return fmt.Errorf("taking a lock file from its holder on this system: %w; end the process", errors.ErrUnsupported)
}

// inPlace reports whether newcomers find f by its path.
func (f *file) inPlace() (bool, error) { return f.named() }

// named reports whether the path still names f. While f is not locked it is not
// open either, and the next try opens what the path names.
func (f *file) named() (bool, error) {
	if f.info == nil {
		return true, nil
	}
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return os.SameFile(f.info, info), nil
}

// mayOverwrite allows it: the record is not in the file.
func (*file) mayOverwrite(bool) error { return nil }

// readRecord reads what may be a record into buf, and returns its length.
func (f *file) readRecord(buf []byte) (n int, err error) {
	err = f.withRecord(func(r *os.File) error {
		n, err = r.ReadAt(buf, 0)
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return n, err
}

func (f *file) writeRecord(rec []byte) error {
	return f.withRecord(func(r *os.File) error {
		_, err := r.WriteAt(rec, 0)
		return err
	})
}

// withRecord calls fn with the file next to f that the record is in.
func (f *file) withRecord(fn func(*os.File) error) error {
	path := f.path + "+i"
	if err := refuseIrregular(path); err != nil {
		return err
	}
	r, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|openFlags, 0o600) //nolint:gosec // next to the lock file
	if err != nil {
		return err
	}
	err = fn(r)
	if e := r.Close(); err == nil {
		err = e
	}
	return err
}

// close drops the lock, if f has it, and closes f.
func (f *file) close() error { return f.lock.Unlock() }
