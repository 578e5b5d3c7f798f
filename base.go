package locker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Base is a [Locker] made of a [Driver]: the Driver attempts, the Base waits.
// It holds what all backends share: options, timeouts and retries, the queue of
// the process, errors, and the state of held locks. Backends embed *Base.
//
// Within the process a Base is first come first served, also where its Driver
// is not.
type Base struct {
	lists    *waitlists
	scope    scope // what was acquired through it
	defaults options

	closing chan struct{} // closed when Close begins
	once    sync.Once     // of Close
}

var _ Locker = (*Base)(nil)

// NewBase returns a Base that acquires locks with d. The opts are its defaults;
// one that makes no sense is an ErrInvalid of every Acquire.
func NewBase(d Driver, opts ...Option) *Base {
	ls := newWaitlists(d)
	if granter, ok := d.(Granter); ok {
		ls.granted = func(l *waitlist, s *scope, o options) holder { return newLock(l, s, o, granter.Grant(l.name)) }
	}
	return newBase(ls, defaultOptions().with(opts))
}

func newBase(ls *waitlists, o options) *Base {
	b := &Base{lists: ls, defaults: o, closing: make(chan struct{})}
	b.scope = scope{lists: ls, backend: ls.driver.Backend(), log: o.log, idle: make(chan struct{})}
	return b
}

// With returns another Locker on the same locks, connections and queue: opts
// win over the defaults of b, and its Close ends what was acquired through it
// alone. The Driver is closed when the last one of them is closed.
func (b *Base) With(opts ...Option) *Base {
	w := newBase(b.lists, b.defaults.with(opts))
	if !b.lists.share(&b.scope, &w.scope) {
		close(w.closing)
		w.once.Do(func() {}) // its Close has nothing to do
	}
	return w
}

// Logger returns the logger of b, for its Driver.
func (b *Base) Logger() *slog.Logger {
	if b.defaults.log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.defaults.log
}

// Acquire implements [Locker].
func (b *Base) Acquire(ctx context.Context, name string, opts ...Option) (Lock, error) {
	o := b.defaults
	if len(opts) > 0 {
		o = o.with(opts)
	}
	var began time.Time
	if o.trace != nil {
		began = time.Now()
	}
	h, why := b.acquire(ctx, name, &o)
	var err error
	if why != nil {
		err = &Error{Op: "acquire", Backend: b.scope.backend, Name: name, Err: why}
	}
	if o.trace != nil {
		e := Event{Backend: b.scope.backend, Name: name, After: time.Since(began), Err: err}
		if h != nil {
			e.Token = h.token
		}
		o.trace.acquired(ctx, e)
	}
	if err != nil {
		if o.debug(ctx) {
			o.log.DebugContext(ctx, "lock not acquired", "backend", b.scope.backend, "lock", name, "error", why)
		}
		return nil, err
	}
	if o.debug(ctx) {
		o.log.DebugContext(ctx, "lock acquired", "backend", b.scope.backend, "lock", name, "token", h.token)
	}
	return h, nil
}

func (b *Base) acquire(ctx context.Context, name string, o *options) (*lock, error) {
	if err := o.check(name); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	granted, w, front, err := b.lists.join(ctx, &b.scope, name, o)
	if err != nil {
		return nil, err
	}
	if granted != nil {
		h := granted.(*lock) // as every holder is
		h.watch()
		return h, nil
	}
	h, err := b.stand(w, front)
	if err != nil {
		w.ctx.free()
		b.lists.exit(&b.scope)
		return nil, err
	}
	return h, nil // which is counted in the Acquire's place
}

// stand waits until w is the front of its waitlist, and contends then.
func (b *Base) stand(w *waiter, front bool) (*lock, error) {
	if front {
		return b.contend(w)
	}
	if w.options.waits() {
		b.waits(w, nil)
	}
	select {
	case t := <-w.turn:
		switch t {
		case turnFront:
			return b.contend(w)
		case turnHeld:
			return b.passed(w)
		case turnRefused:
			return nil, w.refused
		default:
			return nil, ErrClosed
		}
	case <-w.ctx.Done():
		h, outcome := b.lists.giveUp(w)
		if h != nil {
			return b.passed(w)
		}
		return nil, w.ctx.reason(outcome)
	}
}

// waits tells the trace of w that it waits, once.
func (b *Base) waits(w *waiter, err error) {
	if t := w.options.trace; t != nil && !w.traced {
		w.traced = true
		t.waiting(w.ctx.parent, Event{Backend: b.scope.backend, Name: w.list.name, Err: err})
	}
}

// passed returns the lock that was passed to w, unless Close has released it.
func (b *Base) passed(w *waiter) (*lock, error) {
	w.ctx.free()
	if !b.lists.keep(&b.scope) {
		return nil, ErrClosed
	}
	return w.lock.(*lock), nil
}

// contend makes attempts for w, the front of its waitlist, until one succeeds or w
// gives up. This is where an Acquire decides to go on or to end.
func (b *Base) contend(w *waiter) (*lock, error) {
	o, a := &w.options, &w.list.attempt
	var timer *time.Timer
	for ; ; b.lists.again(w) {
		g, err := b.try(w, a)
		if err == nil {
			return b.granted(w, g)
		}
		isHeld := errors.Is(err, ErrAlreadyLocked)
		if w.ctx.Err() == nil {
			err = classified(err)
			b.lists.found(w, err)
			if isHeld && !o.waits() || !isHeld && !w.waited || errors.Is(err, ErrInvalid) {
				_, _ = b.lists.giveUp(w)
				return nil, err
			}
			b.waits(w, err)
			after := a.RetryAfter
			if after <= 0 {
				after = o.checkInterval
			}
			if o.debug(&w.ctx) {
				o.log.DebugContext(&w.ctx, "waiting for lock", "backend", b.scope.backend, "lock", a.Name, "attempt", err, "again", after)
			}
			if timer == nil {
				timer = time.NewTimer(after)
				defer timer.Stop()
			} else {
				timer.Reset(after)
			}
			select {
			case <-a.wake:
			case <-timer.C:
			case <-w.ctx.Done():
			}
		}
		if w.ctx.Err() != nil {
			if isHeld {
				b.lists.found(w, ErrAlreadyLocked)
			}
			_, outcome := b.lists.giveUp(w)
			if isHeld && !o.waits() && w.ctx.timedOut() {
				return nil, ErrAlreadyLocked // it was the attempt that took so long
			}
			return nil, w.ctx.reason(outcome)
		}
	}
}

// try makes an attempt. If the Driver panics, or ends the goroutine, as t.FailNow does
// in the Driver of a test, the next one in the waitlist goes on.
func (b *Base) try(w *waiter, a *Attempt) (g Grant, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		w.ctx.free() // before the waitlist can be used again
		_, _ = b.lists.giveUp(w)
		b.lists.exit(&b.scope)
	}()
	g, err = b.lists.driver.Try(&w.ctx, a)
	returned = true
	return g, err
}

// classified is what an attempt that ended with err has told.
func classified(err error) error {
	switch {
	case errors.Is(err, ErrAlreadyLocked):
		return ErrAlreadyLocked
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrInvalid):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// granted makes a lock of g for w, the front of its waitlist.
func (b *Base) granted(w *waiter, g Grant) (*lock, error) {
	h := newLock(w.list, w.scope, w.options, g)
	w.ctx.free() // before the lock can be released, and the waitlist be used again
	if !b.lists.grant(h.list, h.scope, h) {
		h.close()
		return nil, ErrClosed
	}
	h.watch()
	return h, nil
}

// Close implements [Locker].
func (b *Base) Close() (err error) {
	b.once.Do(func() {
		close(b.closing)
		locks, last := b.lists.close(&b.scope)
		if ender, ok := b.lists.driver.(Ender); ok && last {
			ender.End()
		}
		for _, holder := range locks {
			h := holder.(*lock)
			if h.hold == nil {
				h.close()
			} else {
				go h.close() // all at once: each may take a moment
			}
		}
		<-b.scope.idle
		if b.lists.left() {
			err = b.lists.driver.Close()
		}
	})
	return err
}
