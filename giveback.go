package locker

import (
	"context"
	"sync"
	"time"
)

// releaseGrace is how long Release waits although its ctx had ended before.
const releaseGrace = 250 * time.Millisecond

// A giveBack is the release of a hold, which may outlast the call that began it.
type giveBack struct {
	mu       sync.Mutex    // guards what follows
	over     bool          // the hold is released
	err      error         // how that went
	done     chan struct{} // closed then; made by the first who waits
	returned bool          // the Release that began it has returned
	told     error         // what that returned
}

// end takes in how the release went.
func (g *giveBack) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over, g.err = true, err
	if g.done != nil {
		close(g.done)
	}
}

// await waits until the lock is given back, or ctx ends, and returns how that
// went. What the Release that began it returned is what all later ones return.
func (g *giveBack) await(ctx context.Context, late, began bool) error {
	g.wait(ctx, late)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.returned {
		return g.told
	}
	err := g.err
	if !g.over {
		err = contextError(ctx)
	}
	if began {
		g.returned, g.told = true, err
	}
	return err
}

// wait waits for the end of the release, until ctx ends; if it is late, as ctx had ended
// before the call, for the grace.
func (g *giveBack) wait(ctx context.Context, late bool) {
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return
	}
	if g.done == nil {
		g.done = make(chan struct{})
	}
	done := g.done
	g.mu.Unlock()
	if !late {
		select {
		case <-done:
		case <-ctx.Done():
		}
		return
	}
	grace := time.NewTimer(releaseGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
	}
}
