//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func TestUnreadableFile(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "name")
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	third, _ := open(t, dir)
	lock := acquire(t, first, "name")
	waiter := acquireLater(t, second, d, "name")
	for _, mode := range []fs.FileMode{0, 0o400, 0o200} {
		chmod(t, path, mode)
		if err := lock.Err(); err != nil {
			t.Errorf("mode %v: Err = %v", mode, err)
		}
		fds := openFiles(t)
		isDenied(t, third)
		if got := openFiles(t); got != fds {
			t.Errorf("mode %v: %d descriptors, %d before", mode, got, fds)
		}
	}
	release(t, lock)
	isDenied(t, first)
	chmod(t, path, 0o600)
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)

	last := acquire(t, third, "name", locker.WithTimeout(0))
	if last.Token() <= next.Token() {
		t.Errorf("token %d after %d", last.Token(), next.Token())
	}
	release(t, last)
}

func TestUnreadableDirectory(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "locks")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chmod(t, dir, 0o700) })
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	third, _ := open(t, dir)
	lock := acquire(t, first, "name")
	outages := make(outages)
	waiter := acquireLater(t, second, d, "name", locker.WithLogger(slog.New(outages)))
	fds := openFiles(t)

	chmod(t, dir, 0)
	if err := outages.await(t); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the waiter is told %v", err)
	}
	if got := openFiles(t); fds > 0 && got >= fds {
		t.Errorf("%d descriptors, %d when the waiter had one", got, fds)
	}
	isDenied(t, third)
	if err := lock.Err(); err != nil { // the kernel keeps it
		t.Errorf("Err = %v", err)
	}
	chmod(t, dir, 0o700)
	if _, err := third.Acquire(t.Context(), "name", locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Errorf("Acquire = %v, want ErrAlreadyLocked", err)
	}
	chmod(t, dir, 0)
	release(t, lock)
	isDenied(t, third)
	chmod(t, dir, 0o700)
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

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

// isDenied checks that l may not acquire a lock, and says so.
func isDenied(t testing.TB, l *Locker) {
	t.Helper()
	lock, err := l.Acquire(t.Context(), "name")
	if err == nil {
		release(t, lock)
	}
	_, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(err, locker.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Acquire = %v, want ErrUnavailable, ErrPermission and an *fs.PathError", err)
	}
}
