package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeFile makes an empty file if there is none, for whoever may use the locks: the group
// in a directory that a group shares, else the user alone.
func makeFile(path string) error {
	mode, err := fileMode(filepath.Dir(path))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the caller's file, which is not there
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if mode != privateMode {
		return f.Chmod(mode) // whatever the umask has left of it
	}
	return nil
}

const (
	privateMode fs.FileMode = 0o600
	groupMode   fs.FileMode = 0o660
)

// fileMode returns the mode of new files in a directory. One whose files get its group
// (setgid), and that the group may write to, is shared by the group.
func fileMode(dir string) (fs.FileMode, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	if info.Mode()&fs.ModeSetgid != 0 && info.Mode().Perm()&0o020 != 0 {
		return groupMode, nil
	}
	return privateMode, nil
}
