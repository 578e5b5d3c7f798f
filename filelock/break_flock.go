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
// which is kept locked until the holder has noticed, or the grace is over, also if ctx
// ends before.
func (d *driver) breakFile(ctx context.Context, path string) error {
	old, err := openToRead(path)
	if old == nil || err != nil {
		return err
	}
	made, err := d.replacement(path)
	if err == nil {
		err = old.replaceBy(made)
	}
	if err != nil {
		_ = old.close()
		return err
	}
	noticed := make(chan error, 1)
	d.breaks.Go(func() {
		noticed <- old.awaitUnlocked()
		_ = old.close()
		_ = made.close()
	})
	select {
	case err := <-noticed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replacement returns a file, locked, that is to take the place of the one at path.
// Whoever else breaks that lock uses the same one, and one that was killed while it did
// has left it.
func (d *driver) replacement(path string) (*file, error) {
	for range maxReplaced {
		f, locked, err := lockFile(path+"+b", nil)
		if err != nil {
			return nil, err
		}
		named := false
		if locked {
			named, err = f.named() // else it has just become the lock file itself
		}
		if named && err == nil {
			return f, nil
		}
		_ = f.close()
		if err != nil || !locked {
			break
		}
	}
	return nil, &fs.PathError{Op: "replace", Path: path, Err: errors.New("another process is just doing that")}
}

// replaceBy puts another file, which is locked, in the place of f; or closes and removes
// that.
func (f *file) replaceBy(made *file) error {
	err := f.copyTo(made)
	if err == nil {
		var named bool
		if named, err = f.named(); err == nil && !named {
			err = errors.New("another process was quicker")
		}
	}
	if err == nil {
		err = unix.Rename(made.path, f.path)
	}
	if err == nil {
		return nil
	}
	_ = unix.Unlink(made.path) // nobody else renames it while it is locked
	_ = made.close()
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		err = &fs.PathError{Op: "replace", Path: f.path, Err: err}
	}
	return err
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
	if errors.Is(err, unix.EPERM) && other.isOfGroup(&st) {
		err = nil // its owner is one of the group
	}
	if err == nil {
		err = unix.Fchmod(other.fd, uint32(st.Mode)&0o7777) //nolint:unconvert // 16 bits long on some
	}
	if err != nil {
		return &fs.PathError{Op: "replace", Path: f.path, Err: fmt.Errorf("its owner and mode cannot be kept: %w", err)}
	}
	return nil
}

// isOfGroup reports whether the group that shares a file with status st has f, too.
func (f *file) isOfGroup(st *unix.Stat_t) bool {
	var own unix.Stat_t
	err := unix.Fstat(f.fd, &own)
	return err == nil && own.Gid == st.Gid && uint32(st.Mode)&0o060 == 0o060 //nolint:unconvert // 16 bits long on some
}

// awaitUnlocked waits until nobody has the lock of f, for the grace at most.
func (f *file) awaitUnlocked() error {
	for end := time.Now().Add(breakGrace); ; time.Sleep(breakLook) {
		if held, err := f.isLocked(); !held || err != nil || time.Now().After(end) {
			return err
		}
	}
}
