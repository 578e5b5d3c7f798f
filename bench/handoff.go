package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// handOffWorkloads are about a lock that another process waits for: how long nobody
// works after a release. That is lost for everybody who queues for the lock.
func handOffWorkloads(prefix string, where ...place) []workload {
	return []workload{{
		name:       prefix + "/hand-off",
		about:      "Two processes pass a lock back and forth. From the start of a release until the process that waits holds the lock: how long nobody works. The release comes at a random moment of the poll interval of those that poll.",
		contenders: func() []contender { return of(where...) },
		slow:       true,
		measure:    handOff,
	}}
}

func handOff(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
	holder, err := start(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer holder.end()
	waiter, err := start(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer waiter.end()
	if err := acquireAs(ctx, holder); err != nil {
		return nil, err
	}
	m := &measured{}
	end := time.Now().Add(pick(l, 3*time.Second, 300*time.Millisecond))
	for n := 0; n < 3 || time.Now().Before(end); n++ {
		took, err := passOn(ctx, c, holder, waiter)
		if err != nil {
			return nil, err
		}
		m.took("hand-off", took)
		holder, waiter = waiter, holder
	}
	return m, nil
}

// acquireAs has a child acquire the lock, which is free, for longer than a TTL.
func acquireAs(ctx context.Context, p *process) error {
	if err := askAs(ctx, p); err != nil {
		return err
	}
	_, err := p.await(ctx, acquired)
	return err
}

// askAs has a child begin to acquire the lock.
func askAs(ctx context.Context, p *process) error {
	if err := p.do(doHold); err != nil {
		return err
	}
	_, err := p.await(ctx, asks)
	return err
}

// passOn has the waiter wait, and then the holder release the lock. It returns how
// long that took.
func passOn(ctx context.Context, c contender, holder, waiter *process) (time.Duration, error) {
	if err := askAs(ctx, waiter); err != nil {
		return 0, err
	}
	waitIn(ctx, c)
	return passTo(ctx, holder, waiter)
}

// passTo has the holder release the lock, for which the waiter waits, and returns how
// long that one still had to.
func passTo(ctx context.Context, holder, waiter *process) (time.Duration, error) {
	if err := holder.do(doRelease); err != nil {
		return 0, err
	}
	from, err := holder.await(ctx, released)
	if err != nil {
		return 0, err
	}
	until, err := waiter.await(ctx, acquired)
	return until.Sub(from), err
}

// waitIn gives a waiter time to begin to wait, and goes on at a random moment of its
// poll interval.
func waitIn(ctx context.Context, c contender) {
	const begin = 5 * time.Millisecond
	select {
	case <-ctx.Done():
	case <-time.After(begin + rand.N(max(c.poll, begin))):
	}
}
