package locker

import (
	"context"
	"errors"
	"fmt"
)

// Release implements [Lock].
func (h *lock) Release(ctx context.Context) error {
	var err error
	if h.hold == nil {
		err = h.free()
	} else {
		err = h.release(ctx)
	}
	if err != nil {
		err = &Error{Op: "release", Backend: h.scope.backend, Name: h.name, Err: err}
	}
	return err
}

// free releases an h that has nothing to give back.
func (h *lock) free() error {
	first, t := h.end(nil, nil)
	if !first {
		if _, err := h.whyOver(); !errors.Is(err, ErrReleased) {
			return err // lost
		}
		return nil
	}
	if t != nil {
		t.released(h.event(nil))
	}
	h.scope.lists.released(h.list, h.scope)
	return nil
}

func (h *lock) release(ctx context.Context) error {
	late := ctx.Err() != nil
	if _, ok := h.hold.(Checker); ok {
		_ = h.Err() // a loss that nobody has noticed is noticed now
	}
	g := &giveBack{}
	first, _ := h.end(nil, g)
	if first {
		h.start(ctx, g, ctx.Done() != nil)
	} else {
		var err error
		if g, err = h.whyOver(); g == nil {
			return err // lost
		}
	}
	return g.await(ctx, late, first)
}

// close releases h for Close, which waits for the end of it elsewhere.
func (h *lock) close() {
	if h.hold == nil {
		_ = h.free()
		return
	}
	g := &giveBack{}
	if first, _ := h.end(nil, g); first {
		h.start(context.Background(), g, false)
	}
}

// start gives the lock to the next one. With async, it does not block.
func (h *lock) start(ctx context.Context, g *giveBack, async bool) {
	hold := h.hold
	if h.scope.lists.releasing(h.list) {
		var passed bool
		if hold, passed = h.pass(hold); passed {
			h.confirm(g, nil)
			return
		}
	}
	if starter, ok := hold.(AsyncReleaser); ok {
		starter.StartRelease(func(err error) { h.gaveBack(g, err) })
		return
	}
	if !async {
		h.giveBack(ctx, g, hold)
		return
	}
	go h.giveBack(context.WithoutCancel(ctx), g, hold)
}

var errDidNotReturn = errors.New("the backend has panicked")

// giveBack releases the hold. If that panics, or ends the goroutine, others can ask for
// the lock all the same.
func (h *lock) giveBack(ctx context.Context, g *giveBack, hold Hold) {
	err := errDidNotReturn
	defer func() { h.gaveBack(g, err) }()
	err = hold.Release(ctx)
}

// pass gives the lock to the next one in the waitlist, if the hold allows it; else it
// returns the hold that is to be released.
func (h *lock) pass(hold Hold) (Hold, bool) {
	passer, ok := hold.(Passer)
	if !ok {
		return hold, false
	}
	grant, ok := passer.Pass()
	if !ok {
		return hold, false
	}
	next := &lock{name: h.name, token: grant.Token, hold: grant.Hold, list: h.list}
	if !h.scope.lists.pass(h.list, h.scope, next) {
		return grant.Hold, false // nobody is there any more
	}
	next.watch()
	return nil, true
}

// gaveBack ends a release with the result of the hold's.
func (h *lock) gaveBack(g *giveBack, err error) {
	if err != nil && !errors.Is(err, ErrLost) {
		err = fmt.Errorf("%w: release not confirmed: %w", ErrUnavailable, err)
	}
	h.confirm(g, err)
	h.scope.lists.released(h.list, h.scope)
}

// confirm tells those who wait for a release how it went.
func (h *lock) confirm(g *giveBack, err error) {
	if t := h.state.trace; t != nil {
		t.released(h.event(err))
	}
	g.end(err)
}
