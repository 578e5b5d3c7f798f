package locker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// A waiter is one Acquire that has not ended. It is also the ctx of the
// Acquire's attempts: the caller's, which Base ends at the timeout and at Close.
// The context below it is made when it is first needed, so that an attempt that
// does not block starts no timer.
type waiter struct {
	base    *Base
	line    *line
	options options
	parent  context.Context
	patient atomic.Pointer[patience]

	// Guarded by the mutex of the lines.
	prev    *waiter
	next    *waiter
	turn    chan turn // made when the waiter joins a queue; holds one
	lock    *held     // with turnHeld
	refused error     // with turnRefused: why
	waited  bool      // past the first attempt: an outage is waited out

	traced bool // its Trace knows that it waits
}

// A patience is a context and what ends it.
type patience struct {
	context.Context
	end  context.CancelCauseFunc
	stop context.CancelFunc // frees the timer
}

// A turn is what a waiter in a line is told.
type turn int

const (
	turnFront   turn = iota + 1 // it is the front: it may attempt
	turnHeld                    // the lock was passed to it
	turnRefused                 // the lock is not to be had now, and it does not wait
	turnClosed                  // its Locker was closed
)

// errGaveUp is the cause with which a waiter ends at its timeout.
var errGaveUp = errors.New("timeout")

// errClosing is the cause with which a waiter ends when its Base is closed.
var errClosing = errors.New("closing")

func (w *waiter) patience() *patience {
	p := w.patient.Load()
	if p != nil {
		return p
	}
	p = &patience{}
	p.Context, p.end = context.WithCancelCause(w.parent)
	p.stop = func() {}
	if w.options.timeout > 0 {
		p.Context, p.stop = context.WithTimeoutCause(p.Context, w.options.timeout, errGaveUp)
	}
	if !w.patient.CompareAndSwap(nil, p) {
		p.free()
	}
	return w.patient.Load()
}

func (p *patience) free() {
	p.stop()
	p.end(context.Canceled)
}

func (w *waiter) Deadline() (time.Time, bool) { return w.patience().Deadline() }
func (w *waiter) Done() <-chan struct{}       { return w.patience().Done() }
func (w *waiter) Err() error                  { return w.patience().Err() }
func (w *waiter) Value(key any) any           { return w.patience().Value(key) }

// close ends w, whose Acquire returns ErrClosed.
func (w *waiter) close() { w.patience().end(errClosing) }

// timedOut reports whether w has ended at its own timeout, and closed whether Close
// has ended it. The caller's ctx may be another waiter, with the same causes.
func (w *waiter) timedOut() bool { return w.endedBy(errGaveUp) }
func (w *waiter) closed() bool   { return w.endedBy(errClosing) }

func (w *waiter) endedBy(cause error) bool {
	return context.Cause(w.patience()) == cause && context.Cause(w.parent) != cause //nolint:errorlint // identity is meant
}

// free ends what w uses.
func (w *waiter) free() {
	if p := w.patient.Load(); p != nil {
		p.free()
	}
}

// reason returns the error of an Acquire whose waiter has ended, where the
// latest attempt for the name had the given outcome.
func (w *waiter) reason(outcome error) error {
	switch {
	case w.closed():
		return ErrClosed
	case !w.timedOut():
		return ended(w.parent)
	case outcome == nil:
		return fmt.Errorf("%w: no answer within %v: %w", ErrUnavailable, w.options.timeout, os.ErrDeadlineExceeded)
	case errors.Is(outcome, ErrAlreadyLocked):
		return fmt.Errorf("%w: %w after %v", ErrAlreadyLocked, ErrTimeout, w.options.timeout)
	default:
		return outcome
	}
}

// ended returns the error of ctx, which has ended, with its cause.
func ended(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
