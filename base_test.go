package locker_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

// A fake is a Driver that does what a test says.
type fake struct {
	try    func(ctx context.Context, a *locker.Attempt) (locker.Grant, error)
	leave  func(name string)
	closed atomic.Int32
}

func (*fake) Backend() string { return "fake" }

func (f *fake) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	return f.try(ctx, a)
}

func (f *fake) Leave(_ context.Context, name string) {
	if f.leave != nil {
		f.leave(name)
	}
}

func (f *fake) Close() error { f.closed.Add(1); return nil }

// attempts makes a Driver of what its attempts return, one after another; the
// last one is returned for ever.
func attempts(outcomes ...error) *fake {
	var n atomic.Int32
	return &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
		i := min(int(n.Add(1)), len(outcomes))
		return locker.Grant{Token: uint64(i)}, outcomes[i-1]
	}}
}

// A hold is a Hold that does what a test says.
type hold struct {
	release func(ctx context.Context) error
	check   func() error
}

func (h *hold) Release(ctx context.Context) error {
	if h.release == nil {
		return nil
	}
	return h.release(ctx)
}

func (h *hold) Check() error {
	if h.check == nil {
		return nil
	}
	return h.check()
}

func granting(h locker.Hold) *fake {
	return &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
		return locker.Grant{Token: 1, Hold: h}, nil
	}}
}

var (
	errDown = &fs.PathError{Op: "open", Path: "/backend", Err: fs.ErrPermission}
	isHeld  = locker.ErrAlreadyLocked
)

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func newBase(t *testing.T, d locker.Driver, opts ...locker.Option) *locker.Base {
	b := locker.NewBase(d, opts...)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func matches(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("error %q does not match %q", err, target)
		}
	}
}

func TestOutages(t *testing.T) {
	for _, tt := range []struct {
		name     string
		outcomes []error
		want     []error // nil: acquired
		not      error
	}{
		{"on the first attempt", []error{errDown}, []error{locker.ErrUnavailable, fs.ErrPermission}, locker.ErrTimeout},
		{"during the wait", []error{isHeld, errDown, errDown, nil}, nil, nil},
		{"at the end of the wait", []error{isHeld, isHeld, errDown}, []error{locker.ErrUnavailable, fs.ErrPermission}, locker.ErrTimeout},
		{"over before the end of the wait", []error{isHeld, errDown, isHeld}, []error{locker.ErrAlreadyLocked, locker.ErrTimeout}, locker.ErrUnavailable},
		{"refused by the driver", []error{locker.ErrInvalid}, []error{locker.ErrInvalid}, locker.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				lock, err := newBase(t, attempts(tt.outcomes...)).Acquire(t.Context(), "n", locker.WithTimeout(2*time.Second))
				if tt.want == nil {
					if err != nil || lock.Err() != nil {
						t.Fatalf("Acquire = %v, %v", lock, err)
					}
					return
				}
				matches(t, err, tt.want...)
				if tt.not != nil && errors.Is(err, tt.not) {
					t.Errorf("error %q matches %q", err, tt.not)
				}
				var e *locker.Error
				if !errors.As(err, &e) || e.Op != "acquire" || e.Backend != "fake" || e.Name != "n" || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %#v", err)
				}
			})
		})
	}
}

// An attempt that does not come back is ended by the timeout.
func TestAttemptThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ *locker.Attempt) (locker.Grant, error) {
			<-ctx.Done()
			return locker.Grant{}, ctx.Err()
		}
		b := newBase(t, &fake{try: hang})
		start := time.Now()
		_, err := b.Acquire(t.Context(), "n", locker.WithTimeout(time.Second))
		matches(t, err, locker.ErrUnavailable)
		if errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		cause := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		_, err = b.Acquire(ctx, "n", locker.WithTimeout(locker.NoTimeout))
		matches(t, err, context.Canceled, cause)

		ended := make(chan error)
		go func() {
			_, err := b.Acquire(t.Context(), "n", locker.WithTimeout(0))
			ended <- err
		}()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		matches(t, <-ended, locker.ErrClosed)
	})
}

// The one who does not wait gets the outcome of an attempt, not that of a guess:
// while the first in the line is attempting, nothing is known.
func TestNoWaitBehindAnAttempt(t *testing.T) {
	for _, outcome := range []error{errDown, isHeld, nil} {
		bubble(t, func(t *testing.T) {
			first := make(chan error)
			var n atomic.Int32
			b := newBase(t, &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
				if n.Add(1) == 1 {
					return locker.Grant{}, <-first
				}
				return locker.Grant{}, nil
			}})
			go func() { _, _ = b.Acquire(t.Context(), "n") }()
			synctest.Wait()
			second := make(chan error, 1)
			go func() {
				_, err := b.Acquire(t.Context(), "n", locker.WithTimeout(0))
				second <- err
			}()
			synctest.Wait()
			select {
			case err := <-second:
				t.Errorf("ended with %v while the first attempt was under way", err)
			default:
			}
			first <- outcome
			err := <-second
			if outcome == errDown { //nolint:errorlint // the same variable
				if err != nil {
					t.Errorf("after a failed attempt of another: %v, want the lock", err)
				}
			} else {
				matches(t, err, locker.ErrAlreadyLocked)
			}
		})
	}
}

// A place that the driver may keep is given up when nobody waits, and only then.
func TestLeave(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []locker.Option
		try    func(ctx context.Context) error
		leaves int
	}{
		{"after a wait", nil, func(context.Context) error { return isHeld }, 1},
		{"after an attempt that was cut short", nil, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 1},
		{"not where nobody waits", []locker.Option{locker.WithTimeout(0)}, func(context.Context) error { return isHeld }, 0},
		{"not after a grant", nil, func(context.Context) error { return nil }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				leaves := 0
				b := newBase(t, &fake{
					try: func(ctx context.Context, _ *locker.Attempt) (locker.Grant, error) {
						return locker.Grant{}, tt.try(ctx)
					},
					leave: func(string) { leaves++ },
				}, locker.WithTimeout(time.Second))
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						if lock, err := b.Acquire(t.Context(), "n", tt.opts...); err == nil {
							_ = lock.Release(t.Context())
						}
					})
				}
				all.Wait()
				synctest.Wait()
				if leaves != tt.leaves {
					t.Errorf("%d leaves, want %d", leaves, tt.leaves)
				}
			})
		})
	}
}

// Who comes while the place is given up stands in line until that is done.
func TestLeaveIsNotOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		leaving, left := make(chan struct{}), make(chan struct{})
		var held atomic.Bool
		held.Store(true)
		b := newBase(t, &fake{
			try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
				if held.Load() {
					return locker.Grant{}, isHeld
				}
				select {
				case <-left:
				default:
					t.Error("an attempt while the place is given up")
				}
				return locker.Grant{}, nil
			},
			leave: func(string) { close(leaving); <-left },
		})
		_, err := b.Acquire(t.Context(), "n", locker.WithTimeout(time.Second))
		matches(t, err, locker.ErrTimeout)
		<-leaving
		held.Store(false)
		acquired := make(chan error)
		go func() {
			_, err := b.Acquire(t.Context(), "n", locker.WithTimeout(0))
			acquired <- err
		}()
		synctest.Wait()
		close(left)
		if err := <-acquired; err != nil {
			t.Error(err)
		}
	})
}

// A wake-up has the waiter try at once; without one it tries again after what the
// driver says, or the check interval.
func TestWakeUps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var attempt *locker.Attempt
		var at []time.Duration
		start := time.Now()
		b := newBase(t, &fake{try: func(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
			attempt = a
			at = append(at, time.Since(start))
			switch len(at) {
			case 1: // then the check interval
			case 2:
				a.RetryAfter = 5 * time.Second
			case 3:
				a.RetryAfter = time.Hour
				time.AfterFunc(time.Second, a.Wake)
			case 4:
				return locker.Grant{}, nil
			}
			return locker.Grant{}, isHeld
		}}, locker.WithCheckInterval(2*time.Second), locker.WithTimeout(locker.NoTimeout))
		if _, err := b.Acquire(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{0, 2 * time.Second, 7 * time.Second, 8 * time.Second} {
			if at[i] != want {
				t.Errorf("attempts at %v", at)
				break
			}
		}
		attempt.Wake() // late ones do no harm
	})
}

// The locks of siblings exclude each other, and each sibling closes its own.
func TestWith(t *testing.T) {
	d := attempts(nil)
	a := locker.NewBase(d, locker.WithTimeout(0))
	b := a.With(locker.WithFailWhenLocked(true))
	lock, err := a.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Acquire(t.Context(), "n")
	matches(t, err, locker.ErrAlreadyLocked)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	matches(t, lock.Err(), locker.ErrReleased)
	if _, err := b.Acquire(t.Context(), "n"); err != nil {
		t.Errorf("the sibling of a closed Locker: %v", err)
	}
	if d.closed.Load() != 0 {
		t.Error("the driver was closed while a sibling is open")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if d.closed.Load() != 1 {
		t.Error("the driver was not closed")
	}
	c := b.With()
	if _, err := c.Acquire(t.Context(), "n"); !errors.Is(err, locker.ErrClosed) {
		t.Errorf("a sibling of what is closed: %v", err)
	}
	if err := c.Close(); err != nil || d.closed.Load() != 1 {
		t.Errorf("its Close: %v, %d closes of the driver", err, d.closed.Load())
	}
}

func TestErrorText(t *testing.T) {
	long := strings.Repeat("x", 2000)
	_, err := newBase(t, attempts(nil)).Acquire(t.Context(), long)
	matches(t, err, locker.ErrInvalid)
	if text := err.Error(); len(text) > 200 || !strings.Contains(text, `"xxx`) || !strings.Contains(text, "2000 bytes") {
		t.Errorf("%q", text)
	}
	_, err = newBase(t, attempts(isHeld)).Acquire(t.Context(), "nightly-report", locker.WithTimeout(time.Millisecond))
	if want := `locker: acquire "nightly-report" (fake): already locked: gave up after 1ms`; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
