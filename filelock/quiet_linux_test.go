package filelock

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

// Attempts that fail cause none of the events that wake waiters.
func TestFailingAttemptsWakeNobody(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	l, d := open(t, dir)
	lock := acquire(t, holder, "name")
	events := watchFile(t, filepath.Join(dir, "name"))
	fails := map[string]func() error{
		"without time": func() error {
			_, err := l.Acquire(t.Context(), "name", locker.WithTimeout(0))
			return err
		},
		"fail when locked": func() error {
			_, err := l.Acquire(t.Context(), "name", locker.WithFailWhenLocked(true))
			return err
		},
		"timeout": func() error {
			_, err := l.Acquire(t.Context(), "name", locker.WithTimeout(5*time.Millisecond))
			return err
		},
		"end of ctx": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(2*time.Millisecond, cancel)
			_, err := l.Acquire(ctx, "name", locker.WithTimeout(locker.NoTimeout))
			if errors.Is(err, context.Canceled) {
				err = locker.ErrAlreadyLocked
			}
			return err
		},
	}
	for how, fail := range fails {
		for range 20 {
			if err := fail(); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Fatalf("%s: %v", how, err)
			}
		}
		eventually(t, "the place is left", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.places) == 0
		})
		if events() {
			t.Errorf("%s: others are woken", how)
		}
	}
	release(t, lock)
	if !events() {
		t.Error("no event of the release, by which one would see any")
	}
}

// watchFile returns a function that reports whether there were events of a file, of those
// that wake waiters, since its last call.
func watchFile(t *testing.T, path string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, path, watchMask); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		return n > 0
	}
}

// Attempts that come and go look at the lock for an instant, also when it has just become
// free: whom they are in the way of is not left waiting.
func TestNoWakeUpIsLostAmongAttempts(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	stop := make(chan struct{})
	var trying sync.WaitGroup
	defer trying.Wait()
	defer close(stop)
	for range 3 {
		other, _ := open(t, dir)
		trying.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				lock, err := other.Acquire(context.Background(), "name", locker.WithTimeout(time.Duration(rand.IntN(2))*time.Millisecond))
				if err == nil {
					err = lock.Release(context.Background())
				}
				if err != nil && !errors.Is(err, locker.ErrAlreadyLocked) {
					t.Error(err)
				}
			}
		})
	}
	waiter, d := open(t, dir, wokenOnly())
	awaitInotify(d)
	for range 50 {
		lock := acquire(t, holder, "name", locker.WithTimeout(patience), wokenOnly())
		next := acquireLater(t, waiter, d, "name")
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // within the quick tries, and after them
		release(t, lock)
		release(t, await(t, next))
	}
}

// A process may be killed at any point of an attempt, of a hold or of a release.
func TestNoWakeUpIsLostByAKill(t *testing.T) {
	dir := t.TempDir()
	l, d := open(t, dir, wokenOnly())
	awaitInotify(d)
	for range 10 {
		child, _, _ := startChild(t, "hammer", dir)
		other, _, _ := startChild(t, "hammer", dir)
		waiter := make(chan result, 1)
		go func() {
			lock, err := l.Acquire(context.Background(), "busy", locker.WithTimeout(locker.NoTimeout))
			waiter <- result{lock, err}
		}()
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		for _, c := range []*os.Process{child.Process, other.Process} {
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		release(t, await(t, waiter))
	}
}

// awaitInotify has d wait where the instances of this user are used up, as for a moment by
// processes that were killed.
func awaitInotify(d *driver) {
	init := d.notifier.init
	d.notifier.init = func() (fd int, err error) {
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if fd, err = init(); !errors.Is(err, unix.EMFILE) || time.Now().After(end) {
				return fd, err
			}
		}
	}
}
