package filelock

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

func TestWaitersPollWithoutInotify(t *testing.T) {
	inits := map[string]func() (int, error){
		"no instance": func() (int, error) { return -1, unix.EMFILE },
		"no watch":    func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) },
	}
	for name, init := range inits {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			holder, _ := open(t, dir)
			l, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
			var warnings messages
			d.notifier.init, d.notifier.log = init, slog.New(&warnings)
			lock := acquire(t, holder, "name")
			waiter := acquireLater(t, l, d, "name")
			release(t, lock)
			release(t, await(t, waiter))
			if got := warnings.n.Load(); got != 1 {
				t.Errorf("%d warnings, want 1", got)
			}
		})
	}
}

// messages counts what is logged.
type messages struct{ n atomic.Int64 }

func (m *messages) Enabled(context.Context, slog.Level) bool  { return true }
func (m *messages) Handle(context.Context, slog.Record) error { m.n.Add(1); return nil }
func (m *messages) WithAttrs([]slog.Attr) slog.Handler        { return m }
func (m *messages) WithGroup(string) slog.Handler             { return m }

func TestNothingIsKeptOpen(t *testing.T) {
	dir := t.TempDir()
	before := openFiles(t)
	l, d := open(t, dir, wokenOnly())
	d.notifier.linger = time.Millisecond
	holder, _ := open(t, dir)
	for range 3 {
		lock := acquire(t, holder, "name")
		waiter := acquireLater(t, l, d, "name")
		if _, err := holder.Acquire(t.Context(), "name", locker.WithTimeout(0)); err == nil {
			t.Fatal("acquired twice")
		}
		if _, err := l.Acquire(t.Context(), "name", locker.WithTimeout(time.Millisecond)); err == nil {
			t.Fatal("acquired twice")
		}
		release(t, lock)
		release(t, await(t, waiter))

		lock = acquire(t, holder, "name")
		if _, err := l.Acquire(t.Context(), "name", locker.WithTimeout(3*time.Millisecond)); err == nil {
			t.Fatal("acquired twice")
		}
		if err := os.Remove(filepath.Join(dir, "name")); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, l, "name"))
		_ = lock.Release(t.Context()) // lost
	}
	// That the names are not in use any more is enough: the Lockers are open. One
	// descriptor is that of the netpoller, if nothing needed it before.
	eventually(t, "all descriptors are closed", func() bool { return openFiles(t) <= before+2 && d.idleNow() })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// idleNow reports whether d keeps nothing for waiters.
func (d *driver) idleNow() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &d.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(d.places) == 0 && len(n.watches) == 0 && n.file == nil
}

func TestWaitersDoNotWakeEachOther(t *testing.T) {
	const (
		waiters = 5
		events  = 4
		perWake = 1 + quickTries // attempts
	)
	dir := t.TempDir()
	holder, _ := open(t, dir)
	lock := acquire(t, holder, "name")
	var attempts messages // one for each attempt that failed
	var waiting []<-chan result
	for range waiters {
		l, d := open(t, dir, wokenOnly(), locker.WithLogger(slog.New(&attempts)))
		waiting = append(waiting, acquireLater(t, l, d, "name"))
	}
	for n := range int64(events + 1) {
		want := (n + 1) * waiters * perWake
		eventually(t, "all have tried", func() bool { return attempts.n.Load() >= want })
		if got := attempts.n.Load(); got != want {
			t.Fatalf("%d attempts after %d events, want %d", got, n, want)
		}
		f, err := os.OpenFile(filepath.Join(dir, "name"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil { // an event
			t.Fatal(err)
		}
	}
	release(t, lock)
	var all sync.WaitGroup
	for _, results := range waiting {
		all.Go(func() { // in any order
			if r := <-results; r.err != nil {
				t.Error(r.err)
			} else if err := r.lock.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestWatchThatTheKernelRemovedIsAddedAgain(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	l, d := open(t, dir, wokenOnly())
	lock := acquire(t, holder, "name")
	waiter := acquireLater(t, l, d, "name")
	n := &d.notifier
	old := watchOf(d, "name")
	if _, err := unix.InotifyRmWatch(n.fd, uint32(old.wd)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is another watch", func() bool {
		w := watchOf(d, "name")
		return w != nil && w != old
	})
	release(t, lock)
	release(t, await(t, waiter))
}

func watchOf(d *driver, name string) *watch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.places[name]; p != nil {
		return p.watch
	}
	return nil
}

func TestOverflowWakesEverybody(t *testing.T) {
	n := newNotifier()
	defer n.close()
	dir := t.TempDir()
	var all []*watch
	for _, name := range []string{"a", "b", "c"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w := n.add(path, &locker.Attempt{})
		defer n.remove(w)
		all = append(all, w)
	}
	event := make([]byte, unix.SizeofInotifyEvent)
	overflow := int32(-1)
	binary.NativeEndian.PutUint32(event, uint32(overflow))
	binary.NativeEndian.PutUint32(event[4:], unix.IN_Q_OVERFLOW)
	n.dispatch(event)
	for _, w := range all {
		if !n.woken(w) {
			t.Error("one was not woken")
		}
	}
}

func TestNamesOfOneInodeShareAWatch(t *testing.T) {
	n := newNotifier()
	defer n.close()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(a, b); err != nil {
		t.Fatal(err)
	}
	first, second := n.add(a, &locker.Attempt{}), n.add(b, &locker.Attempt{})
	n.remove(first)
	if err := os.WriteFile(b, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is woken", func() bool { return n.woken(second) })
	n.remove(second)
}
