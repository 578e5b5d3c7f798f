package locktest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

// What breaks a Locker: each of these returns a Harness whose Lockers do one thing
// otherwise than package memlock's.

type acquireFunc func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error)

// acquiring has the Locker acquire with what breaks returns. opts are always all
// options, those of the constructor first.
func acquiring(breaks func(l locker.Locker) acquireFunc) locktest.Harness {
	return inMemory(func(l locker.Locker, _ string, opts []locker.Option) locker.Locker {
		return &wrapped{Locker: l, acquire: withDefaults(opts, breaks(l))}
	})
}

func withDefaults(defaults []locker.Option, acquire acquireFunc) acquireFunc {
	return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
		return acquire(ctx, name, append(defaults[:len(defaults):len(defaults)], opts...)...)
	}
}

// locking has the Locker return its locks as breaks returns them.
func locking(breaks func(lock locker.Lock) locker.Lock) locktest.Harness {
	return acquiring(func(l locker.Locker) acquireFunc { return breakLocks(l, breaks) })
}

func breakLocks(l locker.Locker, breaks func(lock locker.Lock) locker.Lock) acquireFunc {
	return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
		lock, err := l.Acquire(ctx, name, opts...)
		if err != nil {
			return nil, err
		}
		return breaks(lock), nil
	}
}

// losing does what locking does, with the locks of a harness that can be lost.
func losing(breaks func(lock locker.Lock) locker.Lock) locktest.Harness {
	h := thirdParty()
	open := h.Open
	h.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		l := open(t, addr, opts...)
		return &wrapped{Locker: l, acquire: breakLocks(l, breaks)}
	}
	return h
}

// failing has the Locker change its errors.
func failing(breaks func(err *locker.Error) error) locktest.Harness {
	return acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if e, ok := errors.AsType[*locker.Error](err); ok {
				return nil, breaks(e)
			}
			return lock, nil
		}
	})
}

// replacing has the Locker say something else instead of an error.
func replacing(from, to error) locktest.Harness {
	return failing(func(err *locker.Error) error {
		if errors.Is(err, from) {
			err.Err = to
		}
		return err
	})
}

// renaming has the Locker take names for other names.
func renaming(breaks func(name string) string) locktest.Harness {
	return acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, breaks(name), opts...)
			if err != nil {
				return nil, err
			}
			return &changed{Lock: lock, name: name}, nil
		}
	})
}

// adding has the Locker add options to those it is given.
func adding(more func(asked) []locker.Option) locktest.Harness {
	return acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			return l.Acquire(ctx, name, append(opts, more(ask(opts))...)...)
		}
	})
}

// timing has the Locker take a timeout for another one.
func timing(breaks func(timeout time.Duration) time.Duration) locktest.Harness {
	return adding(func(a asked) []locker.Option {
		if !a.wait {
			return nil
		}
		return []locker.Option{locker.WithTimeout(breaks(a.timeout))}
	})
}

// closing has the Locker close with what breaks returns.
func closing(breaks func(l locker.Locker) func() error) locktest.Harness {
	return inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		return &wrapped{Locker: l, acquire: l.Acquire, close: breaks(l)}
	})
}

// A wrapped is a Locker that acquires, or closes, with other functions.
type wrapped struct {
	locker.Locker
	acquire acquireFunc
	close   func() error // nil: as the Locker does
}

func (w *wrapped) Acquire(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
	return w.acquire(ctx, name, opts...)
}

func (w *wrapped) Close() error {
	if w.close == nil {
		return w.Locker.Close()
	}
	return w.close()
}

// An uncomparable is a Locker that panics when it is compared, as do its locks.
type uncomparable struct {
	*locker.Base
	opts []locker.Option
}

func (u uncomparable) Acquire(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
	lock, err := u.Base.Acquire(ctx, name, opts...)
	if err != nil {
		return nil, err
	}
	return uncomparableLock{lock, opts}, nil
}

type uncomparableLock struct {
	locker.Lock
	opts []locker.Option
}

// A changed is a Lock of which that is different that is not zero.
type changed struct {
	locker.Lock
	name    string
	token   uint64
	done    <-chan struct{}
	err     func() error
	release func(ctx context.Context) error
}

func (c *changed) Name() string {
	if c.name == "" {
		return c.Lock.Name()
	}
	return c.name
}

func (c *changed) Token() uint64 {
	if c.token == 0 {
		return c.Lock.Token()
	}
	return c.token
}

func (c *changed) Done() <-chan struct{} {
	if c.done == nil {
		return c.Lock.Done()
	}
	return c.done
}

func (c *changed) Err() error {
	if c.err == nil {
		return c.Lock.Err()
	}
	return c.err()
}

func (c *changed) Release(ctx context.Context) error {
	if c.release == nil {
		return c.Lock.Release(ctx)
	}
	return c.release(ctx)
}

// A forged is a Lock that nobody has granted.
type forged struct {
	name     string
	token    uint64
	done     chan struct{}
	released atomic.Bool
}

func (f *forged) Name() string          { return f.name }
func (f *forged) Token() uint64         { return f.token }
func (f *forged) Done() <-chan struct{} { return f.done }

func (f *forged) Err() error {
	if f.released.Load() {
		return locker.ErrReleased
	}
	return nil
}

func (f *forged) Release(context.Context) error {
	if f.released.CompareAndSwap(false, true) {
		close(f.done)
	}
	return nil
}

// asked is what options ask for.
type asked struct {
	wait          bool
	timeout       time.Duration // 0: none, or NoTimeout
	checkInterval time.Duration
}

// ask finds that out, as Base tells it to a Driver.
func ask(opts []locker.Option) asked {
	d := &askedDriver{began: time.Now()}
	l := locker.NewBase(d, opts...)
	defer l.Close()
	_, _ = l.Acquire(context.Background(), "any")
	return d.asked
}

type askedDriver struct {
	began time.Time
	asked asked
}

func (d *askedDriver) Backend() string { return "asked" }
func (d *askedDriver) Close() error    { return nil }

func (d *askedDriver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	d.asked = asked{wait: a.Wait, checkInterval: a.CheckInterval}
	if deadline, ok := ctx.Deadline(); ok {
		d.asked.timeout = deadline.Sub(d.began).Round(time.Millisecond)
	}
	return locker.Grant{Token: 1}, nil
}

// polling is how a Locker acquires that has no queue.
func polling(l locker.Locker, interval time.Duration) acquireFunc {
	return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
		a := ask(opts)
		for began := time.Now(); ; {
			lock, err := l.Acquire(ctx, name, append(opts, locker.WithTimeout(0))...)
			if !a.wait || !errors.Is(err, locker.ErrAlreadyLocked) {
				return lock, err
			}
			if a.timeout > 0 && time.Since(began) >= a.timeout {
				return l.Acquire(ctx, name, append(opts, locker.WithTimeout(1))...)
			}
			pause := interval
			if a.timeout > 0 {
				pause = min(pause, a.timeout-time.Since(began))
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}
