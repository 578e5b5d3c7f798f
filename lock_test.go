package locker_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

// A release that takes long: ctx bounds the wait for it, not the release.
func TestReleaseAndItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := &hold{release: func(ctx context.Context) error {
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		b := newBase(t, granting(slow))
		lock, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		first := lock.Release(ctx)
		matches(t, first, context.DeadlineExceeded)
		if time.Since(start) != time.Second {
			t.Errorf("Release returned after %v", time.Since(start))
		}
		if second := lock.Release(t.Context()); second.Error() != first.Error() {
			t.Errorf("the second Release returned %v, the first %v", second, first)
		}
		if _, err := b.Acquire(t.Context(), "n", locker.WithTimeout(time.Minute)); err != nil {
			t.Errorf("the next one: %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("the next one got the lock after %v, want when it was released: 10s", d)
		}
	})
}

func TestReleaseWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	bubble(t, func(t *testing.T) {
		for _, takes := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
			b := newBase(t, granting(&hold{release: func(context.Context) error { time.Sleep(takes); return nil }}))
			lock, err := b.Acquire(t.Context(), "n")
			if err != nil {
				t.Fatal(err)
			}
			err = lock.Release(ctx)
			if takes < time.Second && err != nil {
				t.Errorf("a release of %v: %v, want nil within the grace", takes, err)
			}
			if takes == time.Second {
				matches(t, err, context.Canceled)
			}
		}
	})
}

func TestReleaseThatFails(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{errDown, locker.ErrUnavailable},
		{locker.ErrLost, locker.ErrLost},
	} {
		b := newBase(t, granting(&hold{release: func(context.Context) error { return tt.err }}))
		lock, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		err = lock.Release(t.Context())
		matches(t, err, tt.want, tt.err)
		var e *locker.Error
		if !errors.As(err, &e) || e.Op != "release" || e.Name != "n" {
			t.Errorf("error %#v", err)
		}
		if again := lock.Release(t.Context()); again == nil || again.Error() != err.Error() {
			t.Errorf("the second Release: %v", again)
		}
	}
}

// A loss that has to be looked for is found in Err, and in Done's own time.
func TestCheckedHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gone := errors.New("the file is gone")
		var lost atomic.Bool
		released := 0
		h := &hold{
			check: func() error {
				if lost.Load() {
					return gone
				}
				return nil
			},
			release: func(context.Context) error { released++; return nil },
		}
		b := newBase(t, granting(h), locker.WithCheckInterval(time.Second))
		lock, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		done := lock.Done()
		time.Sleep(90 * time.Second)
		if err := lock.Err(); err != nil {
			t.Fatal(err)
		}
		lost.Store(true)
		start := time.Now()
		<-done
		if d := time.Since(start); d > time.Second {
			t.Errorf("Done closed after %v, want the check interval at most", d)
		}
		matches(t, lock.Err(), locker.ErrLost, gone)
		matches(t, lock.Release(t.Context()), locker.ErrLost, gone)
		synctest.Wait()
		if released != 1 {
			t.Errorf("the hold was released %d times, want once, to free what it uses", released)
		}

		lost.Store(false)
		next, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		lost.Store(true)
		matches(t, next.Err(), locker.ErrLost) // nobody has asked for Done
	})
}

// A told hold tells its loss by itself, and can be passed on.
type toldHold struct {
	hold
	mu     sync.Mutex
	lost   func(error)
	next   *toldHold
	passes int
}

func (h *toldHold) Watch(lost func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = lost
}

func (h *toldHold) Pass() (locker.Grant, bool) {
	h.passes++
	return locker.Grant{Token: 2, Hold: h.next}, h.next != nil
}

func TestToldLossFreesThePlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &toldHold{}
		b := newBase(t, granting(h), locker.WithTimeout(locker.NoTimeout))
		lock, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan locker.Lock)
		go func() {
			lock, _ := b.Acquire(t.Context(), "n")
			next <- lock
		}()
		synctest.Wait()
		cause := errors.New("connection reset")
		h.lost(cause)
		select {
		case <-lock.Done():
		default:
			t.Error("lost returned before Done was closed")
		}
		matches(t, lock.Err(), locker.ErrLost, cause)
		(<-next).Release(t.Context())
		h.lost(errors.New("too late"))
		matches(t, lock.Release(t.Context()), locker.ErrLost, cause)
	})
}

func TestPass(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var order []string
		second := &toldHold{hold: hold{release: func(context.Context) error { order = append(order, "second"); return nil }}}
		first := &toldHold{next: second, hold: hold{release: func(context.Context) error { order = append(order, "first"); return nil }}}
		b := newBase(t, granting(first), locker.WithTimeout(locker.NoTimeout))
		lock, err := b.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan locker.Lock)
		go func() {
			lock, _ := b.Acquire(t.Context(), "n")
			next <- lock
		}()
		synctest.Wait()
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		passed := <-next
		if passed.Token() != 2 || first.passes != 1 || order != nil {
			t.Errorf("token %d, %d passes, released %v", passed.Token(), first.passes, order)
		}
		cause := errors.New("gone")
		second.lost(cause)
		matches(t, passed.Err(), cause)
	})
}

// A slowStarter blocks while it begins its release, which is confirmed later.
type slowStarter struct{ begin, confirm time.Duration }

func (s slowStarter) Release(context.Context) error { panic("not called: it is an AsyncReleaser") }

func (s slowStarter) StartRelease(done func(error)) {
	time.Sleep(s.begin)
	time.AfterFunc(s.confirm, func() { done(nil) })
}

// The grace is for a ctx that had ended before Release was called, and not for one that
// ends while the release is begun.
func TestReleaseGrace(t *testing.T) {
	for name, c := range map[string]struct {
		ends, returns time.Duration // of the ctx, and of Release
		confirmed     bool
	}{
		"ended before":         {0, 260 * time.Millisecond, false},
		"ends meanwhile":       {5 * time.Millisecond, 10 * time.Millisecond, false},
		"ends after the start": {20 * time.Millisecond, 20 * time.Millisecond, false},
		"ends later":           {time.Hour, time.Second + 10*time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := locker.NewBase(&fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
					return locker.Grant{Token: 1, Hold: slowStarter{10 * time.Millisecond, time.Second}}, nil
				}})
				lock, err := l.Acquire(t.Context(), "x")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.ends)
				defer cancel()
				start := time.Now()
				err = lock.Release(ctx)
				if took := time.Since(start); took != c.returns {
					t.Errorf("Release took %v, want %v", took, c.returns)
				}
				if c.confirmed && err != nil || !c.confirmed && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Release: %v", err)
				}
				l.Close()
			})
		})
	}
}
