package locker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A lock is the [Lock] of a Base. It is small, as it is what an uncontended
// Acquire in memory allocates.
type lock struct {
	name  string
	token uint64
	hold  Hold // nil if there is nothing to give back
	list  *waitlist
	scope *scope // set again by give, before anyone has the lock

	mu    sync.Mutex // before that of the waitlists
	over  bool       // guarded by mu: no longer held
	state *lockState // guarded by mu: nil until it is needed
}

// A lockState is what only some locks need: those that have a hold, are asked for Done,
// or are lost.
type lockState struct {
	err           error         // why the lock is over; nil if it was released
	done          chan struct{} // made by the first Done
	checkInterval time.Duration
	check         *time.Timer // runs from the first Done, if the hold is a Checker alone
	giveBack      *giveBack   // set when the release of a hold begins
	trace         *Trace      // who is told; set from the beginning, as is since
	since         time.Time   // when it was acquired, if there is a trace
}

var _ Lock = (*lock)(nil)

func newLock(l *waitlist, s *scope, o options, g Grant) *lock {
	h := &lock{name: l.name, token: g.Token, hold: g.Hold, list: l}
	h.give(s, o)
	return h
}

// give implements holder.
func (h *lock) give(s *scope, o options) {
	h.scope = s
	if h.hold != nil || o.trace != nil {
		h.state = &lockState{checkInterval: o.checkInterval, trace: o.trace}
	}
	if o.trace != nil {
		h.state.since = time.Now()
	}
}

// watch has a hold that tells its loss tell h.
func (h *lock) watch() {
	if watcher, ok := h.hold.(Watcher); ok {
		watcher.Watch(h.lost)
	}
}

func (h *lock) Name() string  { return h.name }
func (h *lock) Token() uint64 { return h.token }

func (h *lock) Done() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == nil {
		h.state = &lockState{}
	}
	st := h.state
	if st.done == nil {
		st.done = make(chan struct{})
		if h.over {
			close(st.done)
		} else if h.mustBeChecked() && h.scope.lists.enter(h.scope) { // else Close ends it soon
			st.check = time.AfterFunc(st.checkInterval, h.checkAgain)
		}
	}
	return st.done
}

// mustBeChecked reports whether nobody tells h of a loss.
func (h *lock) mustBeChecked() bool {
	_, checks := h.hold.(Checker)
	_, tells := h.hold.(Watcher)
	return checks && !tells
}

// checkAgain looks for a loss, and comes again after the check interval.
func (h *lock) checkAgain() {
	if h.Err() == nil && h.checkLater() {
		return
	}
	h.scope.lists.exit(h.scope)
}

func (h *lock) checkLater() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.state.check.Reset(h.state.checkInterval)
	}
	return !h.over
}

func (h *lock) Err() error {
	_, err := h.whyOver()
	if err != nil {
		return err
	}
	checker, ok := h.hold.(Checker)
	if !ok {
		return nil
	}
	cause := checker.Check()
	if cause == nil {
		return nil
	}
	h.lose(cause)
	_, err = h.whyOver()
	return err
}

// lose ends h, which was lost, and returns when others can have the lock.
func (h *lock) lose(cause error) {
	err := lossOf(cause)
	if first, _ := h.end(err, nil); first {
		if h.hold != nil {
			_ = h.hold.Release(context.Background()) // frees what it uses
		}
		h.freeLost(err)
	}
}

// lost is called by a hold that tells its loss. It returns at once: the holds of
// many locks are lost together, and none is to wait for another one's log.
func (h *lock) lost(cause error) {
	err := lossOf(cause)
	if first, _ := h.end(err, nil); first {
		h.scope.lists.losses.run(func() { h.freeLost(err) })
	}
}

// freeLost has the next one go on, and the log and the trace know that h was lost.
func (h *lock) freeLost(err error) {
	h.scope.lists.released(h.list, h.scope)
	if log := h.scope.log; log != nil {
		log.Warn("lock lost", "backend", h.scope.backend, "lock", h.name, "token", h.token, "error", err)
	}
	if t := h.state.trace; t != nil {
		t.lost(h.event(err))
	}
}

func lossOf(cause error) error {
	if errors.Is(cause, ErrLost) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrLost, cause)
}

// end closes Done, and returns false if it was closed before; err is nil for a
// release. It returns who is to be told of it, too. This is where a lock ends, before
// anything that lets another one hold it.
func (h *lock) end(err error, g *giveBack) (first bool, t *Trace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false, nil
	}
	h.over = true
	if h.state == nil && err != nil {
		h.state = &lockState{}
	}
	if st := h.state; st != nil {
		t = st.trace
		st.err, st.giveBack = err, g
		if st.done != nil {
			close(st.done)
		}
		if st.check != nil && st.check.Stop() {
			h.scope.lists.exit(h.scope)
		}
	}
	return true, t
}

// whyOver returns why h is no longer held, or nil, and how it is given back.
func (h *lock) whyOver() (*giveBack, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.over:
		return nil, nil
	case h.state == nil:
		return nil, ErrReleased
	case h.state.err == nil:
		return h.state.giveBack, ErrReleased
	default:
		return nil, h.state.err
	}
}

// event is what the trace of h, which has one, is told.
func (h *lock) event(err error) Event {
	return Event{Backend: h.scope.backend, Name: h.name, Token: h.token, After: time.Since(h.state.since), Err: err}
}
