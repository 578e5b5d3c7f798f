package locker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A held is the [Lock] of a Base. It is small, as it is what an uncontended
// Acquire in memory allocates.
type held struct {
	name  string
	token uint64
	hold  Hold // nil if there is nothing to give back
	line  *line
	base  *Base // set again by lines.pass, before anyone has the lock

	mu    sync.Mutex // before that of the lines
	over  bool       // guarded by mu: no longer held
	state *heldState // guarded by mu: nil until it is needed
}

// A heldState is what only some locks need: those that have a hold, are asked for Done,
// or are lost.
type heldState struct {
	err           error         // why the lock is over; nil if it was released
	done          chan struct{} // made by the first Done
	checkInterval time.Duration
	check         *time.Timer // runs from the first Done, if the hold is a Checker alone
	giveBack      *giveBack   // set when the release of a hold begins
	trace         *Trace      // who is told; set from the beginning, as is since
	since         time.Time   // when it was acquired, if there is a trace
}

var _ Lock = (*held)(nil)

func newHeld(l *line, b *Base, o *options, g Grant) *held {
	h := &held{name: l.name, token: g.Token, hold: g.Hold, line: l}
	h.give(b, o)
	return h
}

// give makes h the lock of a caller of b.
func (h *held) give(b *Base, o *options) {
	h.base = b
	if h.hold != nil || o.trace != nil {
		h.state = &heldState{checkInterval: o.checkInterval, trace: o.trace}
	}
	if o.trace != nil {
		h.state.since = time.Now()
	}
}

// watch has a hold that tells its loss tell h.
func (h *held) watch() {
	if watcher, ok := h.hold.(Watcher); ok {
		watcher.Watch(h.lost)
	}
}

func (h *held) Name() string  { return h.name }
func (h *held) Token() uint64 { return h.token }

func (h *held) Done() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == nil {
		h.state = &heldState{}
	}
	st := h.state
	if st.done == nil {
		st.done = make(chan struct{})
		if h.over {
			close(st.done)
		} else if h.mustBeChecked() {
			h.base.lines.checking(h.base)
			st.check = time.AfterFunc(st.checkInterval, h.checkAgain)
		}
	}
	return st.done
}

// mustBeChecked reports whether nobody tells h of a loss.
func (h *held) mustBeChecked() bool {
	_, checks := h.hold.(Checker)
	_, tells := h.hold.(Watcher)
	return checks && !tells
}

// checkAgain looks for a loss, and comes again after the check interval.
func (h *held) checkAgain() {
	if h.Err() == nil && h.checkLater() {
		return
	}
	h.base.lines.checked(h.base)
}

func (h *held) checkLater() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.state.check.Reset(h.state.checkInterval)
	}
	return !h.over
}

func (h *held) Err() error {
	_, err := h.ended()
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
	err = lossOf(cause)
	if first, _ := h.end(err, nil); first {
		_ = h.hold.Release(context.Background()) // frees what it uses
		h.base.lines.released(h)
		h.tellLoss(err)
	}
	_, err = h.ended()
	return err
}

// lost is called by a hold that tells its loss. It returns at once: the holds of
// many locks are lost together, and none is to wait for another one's log.
func (h *held) lost(cause error) {
	err := lossOf(cause)
	if first, _ := h.end(err, nil); first {
		h.base.lines.lose(h, err)
	}
}

func lossOf(cause error) error {
	if errors.Is(cause, ErrLost) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrLost, cause)
}

// tellLoss has the log and the trace know that h was lost.
func (h *held) tellLoss(err error) {
	h.base.Logger().Warn("lock lost", "backend", h.base.backend, "lock", h.name, "token", h.token, "error", err)
	if t := h.state.trace; t != nil {
		t.lost(h.event(err))
	}
}

// end closes Done, and returns false if it was closed before; err is nil for a
// release. It returns who is to be told of it, too. This is where a lock ends, before
// anything that lets another one hold it.
func (h *held) end(err error, g *giveBack) (first bool, t *Trace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false, nil
	}
	h.over = true
	if h.state == nil && err != nil {
		h.state = &heldState{}
	}
	if st := h.state; st != nil {
		t = st.trace
		st.err, st.giveBack = err, g
		if st.done != nil {
			close(st.done)
		}
		if st.check != nil && st.check.Stop() {
			h.base.lines.checked(h.base)
		}
	}
	return true, t
}

// ended returns why h is no longer held, or nil, and how it is given back.
func (h *held) ended() (*giveBack, error) {
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
func (h *held) event(err error) Event {
	return Event{Backend: h.base.backend, Name: h.name, Token: h.token, After: time.Since(h.state.since), Err: err}
}
