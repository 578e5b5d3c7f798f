package locker

import (
	"context"
	"time"
)

// A Trace is told what becomes of Acquires and locks, for metrics and traces, as an
// [net/http/httptrace.ClientTrace] is of requests. Each function may be nil. They are
// called by any number of goroutines, also by the one that reads what a backend answers:
// they must return soon, not panic, and not use the Locker. An Acquire, a Release or the
// telling of a loss goes on when they have returned.
type Trace struct {
	// Waiting is called when an Acquire begins to wait, once at most: Err is why, what
	// its first attempt has found, or nil where others of this process are before it.
	// After is 0.
	Waiting func(ctx context.Context, e Event)

	// Acquired is called when an Acquire ends, with After since it began. With an Err,
	// which is what Acquire returns, it has no lock: then nothing was acquired.
	Acquired func(ctx context.Context, e Event)

	// Lost is called after Done was closed, as the lock was lost, with After since it was
	// acquired. Err is why. Released is not called for that lock.
	Lost func(e Event)

	// Released is called when a lock was given back, or passed on to another Acquire of
	// this process, before Release returns if that waits for it, with After since it was
	// acquired; with an Err where the backend has not confirmed it.
	Released func(e Event)
}

// An Event is what a Trace is told.
type Event struct {
	Backend string // as in Error
	Name    string // of the lock
	Token   uint64 // 0 where there is no lock
	After   time.Duration
	Err     error
}

func (t *Trace) waiting(ctx context.Context, e Event) {
	if t.Waiting != nil {
		t.Waiting(ctx, e)
	}
}

func (t *Trace) acquired(ctx context.Context, e Event) {
	if t.Acquired != nil {
		t.Acquired(ctx, e)
	}
}

func (t *Trace) lost(e Event) {
	if t.Lost != nil {
		t.Lost(e)
	}
}

func (t *Trace) released(e Event) {
	if t.Released != nil {
		t.Released(e)
	}
}
