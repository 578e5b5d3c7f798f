//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// nobody is a user and a group without any rights, which need not have a name.
const nobody = 65534

// In a sticky directory, Linux may refuse also root another user's file that is
// opened to be made (fs.protected_regular, which systemd sets).
func TestFileOfAnotherUserInAStickyDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	dir := t.TempDir()
	chmod(t, dir, 0o777|fs.ModeSticky)
	path := filepath.Join(dir, "name")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	l, _ := open(t, dir)
	release(t, acquire(t, l, "name"))
}

func chmod(t testing.TB, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
