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
	lines    *lines
	backend  string
	defaults options

	closing chan struct{} // closed when Close begins

	closed bool          // guarded by lines.mu
	active int           // guarded by lines.mu: Acquires, held locks, releases, leaves and checks that have not ended
	idle   chan struct{} // closed when closed and active == 0
	once   sync.Once     // of Close
}

var _ Locker = (*Base)(nil)

// NewBase returns a Base that acquires locks with d. The opts are its defaults;
// one that makes no sense is an ErrInvalid of every Acquire.
func NewBase(d Driver, opts ...Option) *Base {
	return newBase(newLines(d), defaultOptions().with(opts))
}

func newBase(ls *lines, o options) *Base {
	return &Base{lines: ls, backend: ls.driver.Backend(), defaults: o, closing: make(chan struct{}), idle: make(chan struct{})}
}

// With returns another Locker on the same locks, connections and queue: opts
// win over the defaults of b, and its Close ends what was acquired through it
// alone. The Driver is closed when the last one of them is closed.
func (b *Base) With(opts ...Option) *Base {
	w := newBase(b.lines, b.defaults.with(opts))
	b.lines.mu.Lock()
	defer b.lines.mu.Unlock()
	if b.closed {
		w.closed = true
		close(w.closing)
		close(w.idle)
		w.once.Do(func() {}) // its Close has nothing to do
	} else {
		b.lines.open++
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
		err = &Error{Op: "acquire", Backend: b.backend, Name: name, Err: why}
	}
	if o.trace != nil {
		e := Event{Backend: b.backend, Name: name, After: time.Since(began), Err: err}
		if h != nil {
			e.Token = h.token
		}
		o.trace.acquired(ctx, e)
	}
	if err != nil {
		if o.debug(ctx) {
			o.log.DebugContext(ctx, "lock not acquired", "backend", b.backend, "lock", name, "error", why)
		}
		return nil, err
	}
	if o.debug(ctx) {
		o.log.DebugContext(ctx, "lock acquired", "backend", b.backend, "lock", name, "token", h.token)
	}
	return h, nil
}

func (b *Base) acquire(ctx context.Context, name string, o *options) (*held, error) {
	if err := o.check(name); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	h, w, front, err := b.lines.join(ctx, b, name, o)
	if h != nil {
		h.watch()
	}
	if h != nil || err != nil {
		return h, err
	}
	h, err = b.stand(w, front)
	if err != nil {
		w.free()
		b.lines.mu.Lock()
		defer b.lines.mu.Unlock()
		b.ended()
		return nil, err
	}
	return h, nil // which is counted in the Acquire's place
}

// stand waits until w is the front of its line, and contends then.
func (b *Base) stand(w *waiter, front bool) (*held, error) {
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
	case <-w.Done():
		h, outcome := b.lines.giveUp(w)
		if h != nil {
			return b.passed(w)
		}
		return nil, w.reason(outcome)
	}
}

// waits tells the trace of w that it waits, once.
func (b *Base) waits(w *waiter, err error) {
	if t := w.options.trace; t != nil && !w.traced {
		w.traced = true
		t.waiting(w.parent, Event{Backend: b.backend, Name: w.line.name, Err: err})
	}
}

// passed returns the lock that was passed to w, unless Close has released it.
func (b *Base) passed(w *waiter) (*held, error) {
	w.free()
	b.lines.mu.Lock()
	defer b.lines.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	b.ended()
	return w.lock, nil
}

// contend makes attempts for w, the front of its line, until one succeeds or w
// gives up. This is where an Acquire decides to go on or to end.
func (b *Base) contend(w *waiter) (*held, error) {
	o, a := &w.options, &w.line.attempt
	var timer *time.Timer
	for ; ; b.lines.again(w) {
		g, err := b.try(w, a)
		if err == nil {
			return b.granted(w, g)
		}
		isHeld := errors.Is(err, ErrAlreadyLocked)
		if w.Err() == nil {
			err = outcome(err)
			b.lines.found(w, err)
			if isHeld && !o.waits() || !isHeld && !w.waited || errors.Is(err, ErrInvalid) {
				_, _ = b.lines.giveUp(w)
				return nil, err
			}
			b.waits(w, err)
			after := a.RetryAfter
			if after <= 0 {
				after = o.checkInterval
			}
			if o.debug(w) {
				o.log.DebugContext(w, "waiting for lock", "backend", b.backend, "lock", a.Name, "attempt", err, "again", after)
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
			case <-w.Done():
			}
		}
		if w.Err() != nil {
			if isHeld {
				b.lines.found(w, ErrAlreadyLocked)
			}
			_, outcome := b.lines.giveUp(w)
			if isHeld && !o.waits() && w.timedOut() {
				return nil, ErrAlreadyLocked // it was the attempt that took so long
			}
			return nil, w.reason(outcome)
		}
	}
}

// try makes an attempt. If the Driver panics, or ends the goroutine, as t.FailNow does
// in the Driver of a test, the next one in the line goes on.
func (b *Base) try(w *waiter, a *Attempt) (g Grant, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		_, _ = b.lines.giveUp(w)
		w.free()
		b.lines.mu.Lock()
		defer b.lines.mu.Unlock()
		b.ended()
	}()
	g, err = b.lines.driver.Try(w, a)
	returned = true
	return g, err
}

// outcome is what an attempt that ended with err has told.
func outcome(err error) error {
	switch {
	case errors.Is(err, ErrAlreadyLocked):
		return ErrAlreadyLocked
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrInvalid):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// granted makes a lock of g for w, the front of its line.
func (b *Base) granted(w *waiter, g Grant) (*held, error) {
	h := newHeld(w.line, w.base, &w.options, g)
	w.free() // before the lock can be released, and the line be used again
	if !b.lines.grant(h) {
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
		for _, h := range b.lines.close(b) {
			if h.hold == nil {
				h.close()
			} else {
				go h.close() // all at once: each may take a moment
			}
		}
		<-b.idle
		if b.lines.left() {
			err = b.lines.driver.Close()
		}
	})
	return err
}

// ended counts one thing less that Close waits for. lines.mu is held.
func (b *Base) ended() {
	b.active--
	if b.closed && b.active == 0 {
		close(b.idle)
	}
}
