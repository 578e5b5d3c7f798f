package locker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
)

// A diary is what a Trace is told, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
	changed chan struct{}
}

func newDiary() *diary { return &diary{changed: make(chan struct{}, 100)} }

func (d *diary) note(what string, e locker.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.After < 0 {
		what += " before it began"
	}
	for _, known := range []error{locker.ErrAlreadyLocked, locker.ErrLost, locker.ErrUnavailable, locker.ErrClosed} {
		if errors.Is(e.Err, known) {
			what += ": " + known.Error()
		}
	}
	d.entries = append(d.entries, fmt.Sprintf("%s %s %d %s", e.Backend, e.Name, e.Token, what))
	d.changed <- struct{}{}
}

func (d *diary) trace() *locker.Trace {
	return &locker.Trace{
		Waiting:  func(_ context.Context, e locker.Event) { d.note("waiting", e) },
		Acquired: func(_ context.Context, e locker.Event) { d.note("acquired", e) },
		Lost:     func(e locker.Event) { d.note("lost", e) },
		Released: func(e locker.Event) { d.note("released", e) },
	}
}

// await waits for the next entry, and checks it.
func (d *diary) await(t *testing.T, want string) {
	t.Helper()
	select {
	case <-d.changed:
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing is told, want %q", want)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entries[0] != want {
		t.Errorf("told %q, want %q", d.entries[0], want)
	}
	d.entries = d.entries[1:]
}

func (d *diary) over(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.entries) > 0 {
		t.Errorf("told %q, too", d.entries)
	}
}

func TestTrace(t *testing.T) {
	d := newDiary()
	l := locker.NewBase(&lossy{}, locker.WithTrace(d.trace()))
	held, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	d.await(t, "lossy n 1 acquired")
	if _, err := l.Acquire(t.Context(), "n", locker.WithTimeout(0)); err == nil {
		t.Fatal("acquired twice")
	}
	d.await(t, "lossy n 0 acquired: already locked")
	next := make(chan locker.Lock)
	go func() {
		lock, err := l.Acquire(t.Context(), "n")
		if err != nil {
			t.Error(err)
		}
		next <- lock
	}()
	d.await(t, "lossy n 0 waiting") // behind one of its process
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = held.Release(t.Context()) // is no second one
	d.await(t, "lossy n 1 released")
	held = <-next
	d.await(t, "lossy n 2 acquired")
	lose(held)
	d.await(t, "lossy n 2 lost: lock lost")
	if err := held.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
		t.Error(err)
	}

	// Another process holds it, and Close ends the wait.
	go func() {
		_, err := l.Acquire(t.Context(), "taken", locker.WithTimeout(locker.NoTimeout), locker.WithCheckInterval(time.Millisecond))
		if !errors.Is(err, locker.ErrClosed) {
			t.Error(err)
		}
	}()
	d.await(t, "lossy taken 0 waiting: already locked")
	if _, err := l.Acquire(t.Context(), "broken"); err == nil {
		t.Error("no error")
	}
	d.await(t, "lossy broken 0 acquired: backend unavailable")
	if _, err := l.Acquire(t.Context(), "n", locker.WithTrace(nil)); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	d.await(t, "lossy taken 0 acquired: locker closed")
	d.over(t)
}

// In memory a lock has nothing to give back, and is traced, too.
func TestTraceMemory(t *testing.T) {
	d := newDiary()
	l := memlock.New(locker.WithTrace(d.trace()))
	lock, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	d.await(t, fmt.Sprintf("memory n %d acquired", lock.Token()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d.await(t, fmt.Sprintf("memory n %d released", lock.Token()))
	d.over(t)
}

// A lossy driver grants locks that lose can end.
type lossy struct {
	mu    sync.Mutex
	token uint64
}

var lossyHolds sync.Map // by token: of the one test that uses it

func (*lossy) Backend() string { return "lossy" }
func (*lossy) Close() error    { return nil }

func (d *lossy) Try(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
	switch a.Name {
	case "taken":
		return locker.Grant{}, locker.ErrAlreadyLocked
	case "broken":
		return locker.Grant{}, errors.New("out of order")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.token++
	h := &lossyHold{}
	lossyHolds.Store(d.token, h)
	return locker.Grant{Token: d.token, Hold: h}, nil
}

type lossyHold struct{ lost func(error) }

func (h *lossyHold) Watch(lost func(error))        { h.lost = lost }
func (h *lossyHold) Release(context.Context) error { return nil }

func lose(lock locker.Lock) {
	h, _ := lossyHolds.Load(lock.Token())
	h.(*lossyHold).lost(errors.New("cut"))
}
