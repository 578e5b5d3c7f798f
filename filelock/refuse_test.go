//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

func TestForeignFilesAreRefused(t *testing.T) {
	tests := map[string]func(path, elsewhere string) error{
		"symlink to a file": func(path, elsewhere string) error {
			return errors.Join(os.WriteFile(elsewhere, []byte("precious"), 0o600), os.Symlink(elsewhere, path))
		},
		"symlink to nothing": func(path, elsewhere string) error { return os.Symlink(elsewhere, path) },
		"symlink to itself":  func(path, _ string) error { return os.Symlink(path, path) },
		"hard link to a file": func(path, elsewhere string) error {
			return errors.Join(os.WriteFile(elsewhere, []byte("precious"), 0o600), os.Link(elsewhere, path))
		},
		"directory":  func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"named pipe": func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		"socket":     listen,
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "target")
			path := filepath.Join(dir, "name")
			if err := make(path, elsewhere); err != nil {
				t.Fatal(err)
			}
			l, _ := open(t, dir)
			fds := openFiles(t)
			lock, err := l.Acquire(t.Context(), "name")
			if err == nil {
				release(t, lock)
			}
			if _, ok := errors.AsType[*fs.PathError](err); !ok || !errors.Is(err, locker.ErrUnavailable) {
				t.Errorf("Acquire = %v, want ErrUnavailable and an *fs.PathError", err)
			}
			t.Log(err)
			if got := openFiles(t); got != fds {
				t.Errorf("%d descriptors, %d before", got, fds)
			}
			content, err := os.ReadFile(elsewhere)
			if string(content) != "precious" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the target has become %q, %v", content, err)
			}
		})
	}
}

func listen(path, _ string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

func TestHardLinkOfALockIsALock(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	release(t, acquire(t, l, "name"))
	if err := os.Link(filepath.Join(dir, "name"), filepath.Join(t.TempDir(), "backup")); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, l, "name"))
}

// openFiles returns how many descriptors the process has open, or 0 where that
// is not known.
func openFiles(t *testing.T) int {
	t.Helper()
	time.AfterFunc(patience, func() {}).Stop() // the first timer opens those of the runtime's poller
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
