//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// A holder that looks after its lock has noticed the replaced file by then: twice the
// default check interval.
const (
	breakGrace = 500 * time.Millisecond
	breakLook  = 5 * time.Millisecond
)

// breakFile takes the lock of a file from its holder: it puts a new file in its place,
// which it keeps locked until the holder has noticed, or the grace is over.
func (d *driver) breakFile(ctx context.Context, path string) error {
	old, err := openToRead(path)
	if old == nil || err != nil {
		return err
	}
	defer func() { _ = old.close() }()
	// Whoever else breaks the lock uses the same file, and one that was killed while it
	// did has left it.
	made, locked, err := lockFile(path+"+b", nil)
	if err != nil {
		return err
	}
	defer func() { _ = made.close() }()
	if !locked {
		return &fs.PathError{Op: "replace", Path: path, Err: errors.New("another process is just doing that")}
	}
	if err := old.copyTo(made); err != nil {
		_ = unix.Unlink(made.path)
		return err
	}
	if named, err := old.named(); !named || err != nil { // another one was quicker
		_ = unix.Unlink(made.path)
		return err
	}
	if err := unix.Rename(made.path, path); err != nil {
		_ = unix.Unlink(made.path)
		return &fs.PathError{Op: "replace", Path: path, Err: err}
	}
	return old.awaitUnlocked(ctx)
}

// copyTo gives another file the content of f, by which tokens go on, its owner and mode.
func (f *file) copyTo(other *file) error {
	var st unix.Stat_t
	buf := make([]byte, recordSize+maxQuoted)
	n, err := f.readRecord(buf)
	if err != nil {
		return err
	}
	if err := other.writeRecord(buf[:n]); err != nil {
		return err
	}
	err = unix.Fstat(f.fd, &st)
	if err == nil {
		err = unix.Fchown(other.fd, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = unix.Fchmod(other.fd, uint32(st.Mode)&0o7777) //nolint:unconvert // 16 bits long on some
	}
	if err != nil {
		return &fs.PathError{Op: "replace", Path: f.path, Err: fmt.Errorf("its owner and mode cannot be kept: %w", err)}
	}
	return nil
}

// awaitUnlocked waits until nobody has the lock of f, for the grace at most.
func (f *file) awaitUnlocked(ctx context.Context) error {
	for end := time.Now().Add(breakGrace); ; {
		held, err := f.isLocked()
		if !held || err != nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(breakLook):
		}
	}
}
