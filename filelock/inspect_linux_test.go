package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Inspect and Names cause none of the events that wake waiters, and make no file.
func TestInspectWakesNobody(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	lock := acquire(t, l, "name")
	path := filepath.Join(dir, "name")
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.InotifyAddWatch(fd, path, watchMask); err != nil {
		t.Fatal(err)
	}
	look := func() {
		for _, name := range []string{"name", "none"} {
			if _, err := l.Inspect(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range l.Names(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	buf := make([]byte, 4096)
	if n, err := unix.Read(fd, buf); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d bytes of events, %v", n, err)
	}
	release(t, lock)
	if n, err := unix.Read(fd, buf); n <= 0 {
		t.Errorf("no event of the release, by which one would see any: %v", err)
	}
	look()
	if n, err := unix.Read(fd, buf); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d bytes of events of a free lock, %v", n, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "none")); err == nil {
		t.Error("there is a file for a lock that nobody had")
	}
}
