package filelock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/golocker/locker"
)

// Locker acquires locks that are files in one directory. All Lockers on the
// machine that use the directory exclude each other.
type Locker struct {
	*locker.Base
}

var _ locker.Locker = (*Locker)(nil)

// New returns a Locker for the files in dir. The opts are its defaults.
//
// If dir does not exist, New makes it, and its parents, with mode 0700; if it
// does, it is used as it is. A relative dir is relative to the working directory
// at the time of the call. New touches no lock file.
//
// The error matches [locker.ErrInvalid] if dir is empty, is not a directory, or
// may be written to by everybody without being sticky; else, if dir cannot be
// made or looked at, it matches [locker.ErrUnavailable] and is an
// [*fs.PathError].
func New(dir string, opts ...locker.Option) (*Locker, error) {
	abs, err := directory(dir)
	if err != nil {
		return nil, fmt.Errorf("filelock: directory %q: %w", dir, err)
	}
	d := newDriver(abs)
	base := locker.NewBase(d, opts...)
	d.notifier.log = base.Logger()
	return &Locker{base}, nil
}

// directory returns the absolute path of dir, which it makes if need be.
func directory(dir string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("%w: it has no name", locker.ErrInvalid)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", locker.ErrUnavailable, err)
	}
	info, err := os.Stat(abs) //nolint:gosec // which directory is for the caller to say
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(abs, 0o700); err == nil { //nolint:gosec // as above
			info, err = os.Stat(abs) //nolint:gosec // as above
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", locker.ErrUnavailable, err)
	}
	return abs, checkDirectory(info)
}

// checkDirectory returns an error if a directory is not one to keep locks in.
func checkDirectory(info fs.FileInfo) error {
	mode := info.Mode()
	switch {
	case !mode.IsDir():
		return fmt.Errorf("%w: it is not a directory", locker.ErrInvalid)
	case runtime.GOOS == "windows": // the mode says nothing about others
		return nil
	case mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0:
		return fmt.Errorf("%w: everybody may replace its files (mode %v); chmod o-w or +t", locker.ErrInvalid, mode)
	}
	return nil
}
