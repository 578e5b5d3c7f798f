package filelock

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// isAwaited checks how many wait for locks. Where the kernel shows its locks in parts, one
// may be shown twice, or not, when others go meanwhile.
func isAwaited(t *testing.T, l *Locker, names []string, want ...int) {
	t.Helper()
	for i, name := range names {
		eventually(t, fmt.Sprintf("%d wait for %s", want[i], name), func() bool {
			info, err := l.Inspect(t.Context(), name)
			return err == nil && info.Waiters == want[i]
		})
	}
}

func TestWaitersAreCountedForEachLock(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "b", "c", "d"} // the inodes of which may be neighbours
	holder, _ := open(t, dir)
	first, d := open(t, dir)
	second, d2 := open(t, dir)
	var locks []locker.Lock
	for _, name := range names {
		locks = append(locks, acquire(t, holder, name))
	}
	isAwaited(t, holder, names, 0, 0, 0, 0)
	a, b, c := acquireLater(t, first, d, "a"), acquireLater(t, first, d, "b"), acquireLater(t, first, d, "c")
	b2 := acquireLater(t, second, d2, "b")
	isAwaited(t, holder, names, 1, 2, 1, 0)
	release(t, locks[0])
	next := await(t, a)
	isAwaited(t, holder, names, 0, 2, 1, 0)
	release(t, next)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	<-b2
	isAwaited(t, holder, names, 0, 1, 1, 0)
	release(t, locks[1])
	release(t, locks[2])
	release(t, await(t, b))
	release(t, await(t, c))
	isAwaited(t, holder, names, 0, 0, 0, 0)
	release(t, locks[3])
}

func TestWaitersThatPollAreCounted(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	l, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	d.notifier.init = func() (int, error) { return -1, os.ErrPermission }
	lock := acquire(t, holder, "name")
	waiter := acquireLater(t, l, d, "name")
	isAwaited(t, holder, []string{"name"}, 1)
	release(t, lock)
	release(t, await(t, waiter))
}

// Whose processes those are does not matter, nor whether one may look at them.
func TestWaitersOfOtherUsersAreCounted(t *testing.T) {
	if os.Getenv(rerunEnv) == "" {
		dir := t.TempDir()
		if os.Geteuid() != 0 {
			t.Skip("only root can be other users")
		}
		chmod(t, filepath.Dir(dir), 0o755)
		chmod(t, dir, 0o755)
		holder, _ := open(t, dir)
		l, d := open(t, dir)
		lock := acquire(t, holder, "name")
		chmod(t, filepath.Join(dir, "name"), 0o644)
		waiter := acquireLater(t, l, d, "name")
		t.Setenv(dirEnv, dir)
		unprivileged(t)
		release(t, lock)
		release(t, await(t, waiter))
		return
	}
	l, _ := open(t, os.Getenv(dirEnv))
	isAwaited(t, l, []string{"name"}, 1)
}

// What processes have open makes no difference to who looks at locks.
func TestInspectLooksAtLocksAlone(t *testing.T) {
	const files, locks = 8000, 20
	dir := t.TempDir()
	for range files {
		f, err := os.Open(dir)
		if err != nil {
			unavailable(t, "the test may not open %d files: %v", files, err)
		}
		defer f.Close()
	}
	l, _ := open(t, dir)
	for i := range locks {
		defer release(t, acquire(t, l, fmt.Sprint(i)))
	}
	start := time.Now()
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(open) < files {
		t.Fatal(len(open), err)
	}
	for _, fd := range open {
		_, _ = os.Readlink(fd)
	}
	walk := time.Since(start) // what it would take to look at them once
	start = time.Now()
	for i := range locks {
		if info, err := l.Inspect(t.Context(), fmt.Sprint(i)); err != nil || !info.Held {
			t.Errorf("%+v, %v", info, err)
		}
	}
	took := time.Since(start)
	t.Logf("%d locks in %v; %d descriptors in %v", locks, took, files, walk)
	if took > locks/2*walk {
		t.Errorf("to look at %d locks took %v; at all descriptors, %v", locks, took, walk)
	}
}

// The kernel shows many locks in parts, and passes over some where others go meanwhile.
func TestLocksAreSeenWhileOthersComeAndGo(t *testing.T) {
	const held = 200
	l, _ := open(t, t.TempDir())
	for i := range held {
		defer release(t, acquire(t, l, fmt.Sprint(i)))
	}
	stop := make(chan struct{})
	var busy sync.WaitGroup
	defer busy.Wait()
	defer close(stop)
	other, _ := open(t, t.TempDir())
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			var locks []locker.Lock
			for i := range 30 {
				lock, err := other.Acquire(context.Background(), fmt.Sprint(i))
				if err != nil {
					t.Error(err)
					return
				}
				locks = append(locks, lock)
			}
			for _, lock := range locks {
				_ = lock.Release(context.Background())
			}
		}
	})
	unknown := 0
	for i := range held {
		info, err := l.Inspect(t.Context(), fmt.Sprint(i))
		if err != nil || !info.Held {
			t.Errorf("%+v, %v", info, err)
		}
		if info.Holder.PID == 0 {
			unknown++
		}
	}
	if unknown > held/10 {
		t.Errorf("the holders of %d locks are not known, of %d", unknown, held)
	}
	for range 5 {
		seen := 0
		for _, err := range l.Names(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
		}
		if seen != held {
			t.Errorf("%d names, want %d", seen, held)
		}
	}
}

// BenchmarkInspect tells how long it takes to look at one of 20 locks.
func BenchmarkInspect(b *testing.B) {
	dir := b.TempDir()
	l, _ := open(b, dir)
	for i := range 20 {
		defer release(b, acquire(b, l, fmt.Sprint(i)))
	}
	for b.Loop() {
		if _, err := l.Inspect(b.Context(), "7"); err != nil {
			b.Fatal(err)
		}
	}
}
