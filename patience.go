package locker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// A patience is the ctx of an Acquire's attempts: the caller's, which ends at the
// timeout and at Close, too. The context below it is made when it is first needed, so
// that an attempt that does not block starts no timer.
type patience struct {
	parent  context.Context
	timeout time.Duration
	made    atomic.Pointer[bounded]
}

// A bounded is a context and what ends it.
type bounded struct {
	context.Context
	end  context.CancelCauseFunc
	stop context.CancelFunc // frees the timer
}

// errGaveUp is the cause with which a patience ends at its timeout.
var errGaveUp = errors.New("timeout")

// errClosing is the cause with which a patience ends when its Base is closed.
var errClosing = errors.New("closing")

func (p *patience) bounded() *bounded {
	c := p.made.Load()
	if c != nil {
		return c
	}
	c = &bounded{stop: func() {}}
	c.Context, c.end = context.WithCancelCause(p.parent)
	if p.timeout > 0 {
		c.Context, c.stop = context.WithTimeoutCause(c.Context, p.timeout, errGaveUp)
	}
	if !p.made.CompareAndSwap(nil, c) {
		c.free()
	}
	return p.made.Load()
}

func (c *bounded) free() {
	c.stop()
	c.end(context.Canceled)
}

func (p *patience) Deadline() (time.Time, bool) { return p.bounded().Deadline() }
func (p *patience) Done() <-chan struct{}       { return p.bounded().Done() }
func (p *patience) Err() error                  { return p.bounded().Err() }
func (p *patience) Value(key any) any           { return p.bounded().Value(key) }

// close ends p, whose Acquire returns ErrClosed.
func (p *patience) close() { p.bounded().end(errClosing) }

// timedOut reports whether p has ended at its own timeout, and closed whether Close
// has ended it. The caller's ctx may be another patience, with the same causes.
func (p *patience) timedOut() bool { return p.endedBy(errGaveUp) }
func (p *patience) closed() bool   { return p.endedBy(errClosing) }

func (p *patience) endedBy(cause error) bool {
	return context.Cause(p.bounded()) == cause && context.Cause(p.parent) != cause //nolint:errorlint // identity is meant
}

// free ends what p uses.
func (p *patience) free() {
	if c := p.made.Load(); c != nil {
		c.free()
	}
}

// reason returns the error of an Acquire whose patience has ended, where the latest
// attempt for the name had the given outcome.
func (p *patience) reason(outcome error) error {
	switch {
	case p.closed():
		return ErrClosed
	case !p.timedOut():
		return contextError(p.parent)
	case outcome == nil:
		return fmt.Errorf("%w: no answer within %v: %w", ErrUnavailable, p.timeout, os.ErrDeadlineExceeded)
	case errors.Is(outcome, ErrAlreadyLocked):
		return fmt.Errorf("%w: %w after %v", ErrAlreadyLocked, ErrTimeout, p.timeout)
	default:
		return outcome
	}
}

// contextError returns the error of ctx, which has ended, with its cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
