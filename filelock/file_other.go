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
	shared   bool        // not known here
	lockedAt time.Time   // when it was in its place for sure, or before
}

// openFile prepares the lock file, which it makes if there is none; it is opened when it is
// tried to lock.
func openFile(path string) (*file, error) {
	err := refuseIrregular(path)
	if err == nil {
		err = makeFile(path)
	}
	if err != nil {
		return nil, err
	}
	const flags = os.O_RDWR | os.O_CREATE | openFlags
	return checked(&file{path: path, lock: flock.New(path, flock.SetFlag(flags), flock.SetPermissions(privateMode))})
}

// openToRead prepares a lock file to look at it. It returns nil if there is none.
func openToRead(path string) (*file, error) {
	if err := refuseIrregular(path); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return checked(&file{path: path, lock: flock.New(path, flock.SetFlag(os.O_RDONLY))})
}

// checked returns f, unless that or the file of its record has another program's data.
func checked(f *file) (*file, error) {
	content := make([]byte, maxContent+1)
	n, err := readStart(f.path, content) // the lock file is empty
	if err == nil && !isOurs(content[:n]) {
		err = &fs.PathError{Op: "open", Path: f.path, Err: errForeign}
	}
	if err == nil {
		err = f.refuseForeign()
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// toLock returns f itself: nobody is woken by what is closed here.
func (f *file) toLock() (*file, error) { return f, nil }

// refuseIrregular returns an error if path names something else than a regular file.
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
func (f *file) readRecord(buf []byte) (int, error) {
	path := f.recordPath()
	if err := refuseIrregular(path); err != nil {
		return 0, err
	}
	return readStart(path, buf)
}

// readStart reads what a file begins with, which need not exist. One that is empty is not
// read, as that may fail while it is locked.
func readStart(path string, buf []byte) (int, error) {
	if info, err := os.Lstat(path); err == nil && info.Size() == 0 {
		return 0, nil
	}
	r, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0) //nolint:gosec // the lock file, or the one next to it
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }()
	n, err := r.ReadAt(buf, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// writeRecord writes what readRecord has found to be a record, or nothing.
func (f *file) writeRecord(rec []byte) error {
	path := f.recordPath()
	if err := makeFile(path); err != nil {
		return err
	}
	r, err := os.OpenFile(path, os.O_WRONLY|openFlags, 0) //nolint:gosec // next to the lock file
	if err != nil {
		return err
	}
	_, err = r.WriteAt(rec, 0)
	if e := r.Close(); err == nil {
		err = e
	}
	return err
}

// recordPath is that of the file next to f that the record is in.
func (f *file) recordPath() string { return f.path + "+i" }

// close drops the lock, if f has it, and closes f.
func (f *file) close() error { return f.lock.Unlock() }

// openToLock returns nil: nothing is gained here by another way to open a file.
func openToLock(string) (*file, error) { return nil, nil }
