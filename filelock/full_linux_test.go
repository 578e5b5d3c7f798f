package filelock

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

func TestFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountSmall(t)
	l, _ := open(t, dir)
	other, _ := open(t, dir)
	old := acquire(t, l, "old")
	release(t, old)
	empty := fill(t, dir)

	for range 2 { // there is no file; there is an empty one
		fds := openFiles(t)
		isRefused(t, l, "new", unix.ENOSPC)
		if got := openFiles(t); got != fds {
			t.Errorf("%d descriptors, %d before", got, fds)
		}
	}
	again := acquire(t, l, "old") // its record is overwritten in place
	if again.Token() <= old.Token() {
		t.Errorf("token %d after %d", again.Token(), old.Token())
	}
	release(t, again)

	empty()
	release(t, acquire(t, other, "new", locker.WithTimeout(0))) // nobody else holds it
	release(t, acquire(t, l, "new", locker.WithTimeout(0)))
}

func TestFullDiskMakesNoFile(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountSmall(t, "nr_inodes=2") // the directory and one file
	l, _ := open(t, dir)
	release(t, acquire(t, l, "first"))
	fds := openFiles(t)
	isRefused(t, l, "second", unix.ENOSPC)
	if got := openFiles(t); got != fds {
		t.Errorf("%d descriptors, %d before", got, fds)
	}
	if err := os.Remove(filepath.Join(dir, "first")); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, l, "second", locker.WithTimeout(0)))
}

func TestWaiterOutlastsAFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountSmall(t)
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	third, _ := open(t, dir)
	lock := acquire(t, first, "name")
	outages := make(outages)
	waiter := acquireLater(t, second, d, "name", locker.WithLogger(slog.New(outages)))

	if err := os.Truncate(filepath.Join(dir, "name"), 0); err != nil { // now it has no place
		t.Fatal(err)
	}
	empty := fill(t, dir)
	if err := lock.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
	release(t, lock)
	for range 3 {
		if err := outages.await(t); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("the waiter is told %v", err)
		}
	}
	eventually(t, "no attempt is in the way of one that fails", func() bool {
		_, err := third.Acquire(t.Context(), "name", locker.WithTimeout(0))
		return errors.Is(err, unix.ENOSPC)
	})
	empty()
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

// A write that ends early leaves a torn record and no lock.
func TestShortWrite(t *testing.T) {
	if !rerun(t, nil) { // the limit is that of a process
		return
	}
	dir := t.TempDir()
	l, _ := open(t, dir)
	lock := acquire(t, l, "name")
	release(t, lock)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	isRefused(t, l, "name", nil)
	isRefused(t, l, "new", nil)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	next := acquire(t, l, "name", locker.WithTimeout(0))
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

// fill fills the disk that dir is on until empty is called.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("write: %v, want ENOSPC", err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
