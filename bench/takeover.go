package main

import (
	"context"
	"fmt"
	"time"
)

// deadWaiterWorkloads are about a process that crashes while it waits for a lock: whether
// those behind it wait for it.
func deadWaiterWorkloads() []workload {
	return []workload{{
		name:       "redis/dead waiter in the queue",
		about:      "Two processes wait for a lock, one after the other, and the first of them is killed. From the start of the release until the second holds the lock. All contenders are measured at once.",
		contenders: func() []contender { return of(inRedis, inEtcd) },
		together:   true,
		slow:       true,
		measure:    deadWaiter,
	}}
}

func deadWaiter(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
	if l.quick && c.ttl > 0 {
		return nil, fmt.Errorf("%w with -quick: the TTL is %v", errLeftOut, c.ttl)
	}
	holder, err := start(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer holder.end()
	if err := acquireAs(ctx, holder); err != nil {
		return nil, err
	}
	var waiters []*process
	for range 2 {
		waiter, err := start(ctx, c, p)
		if err != nil {
			return nil, err
		}
		defer waiter.end()
		if err := askAs(ctx, waiter); err != nil {
			return nil, err
		}
		waitIn(ctx, c)
		waiters = append(waiters, waiter)
	}
	waiters[0].kill()
	took, err := passTo(ctx, holder, waiters[1])
	if err != nil {
		return nil, err
	}
	m := &measured{}
	m.took("hand-off past the dead", took)
	return m, nil
}

// takeOverWorkloads are about a process that crashes with a lock: how long its work
// is left undone.
func takeOverWorkloads(prefix string, where ...place) []workload {
	return []workload{{
		name:       prefix + "/take-over after SIGKILL",
		about:      "A process is killed while it holds a lock, shortly after it has acquired it, and another waits: how long until that one holds it. Locks with a TTL last until it has passed. All contenders are measured at once, as they wait most of the time.",
		contenders: func() []contender { return of(where...) },
		together:   true,
		slow:       true,
		measure:    takeOver,
	}}
}

func takeOver(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
	if l.quick && c.ttl > 0 {
		return nil, fmt.Errorf("%w with -quick: the TTL is %v", errLeftOut, c.ttl)
	}
	holder, err := start(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer holder.kill()
	waiter, err := start(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer waiter.end()
	if err := acquireAs(ctx, holder); err != nil {
		return nil, err
	}
	if err := askAs(ctx, waiter); err != nil {
		return nil, err
	}
	// Long enough to see that those that renew their locks do.
	time.Sleep(300 * time.Millisecond)
	waitIn(ctx, c)
	from := time.Now().Round(0) // without the monotonic clock, which is this process' own
	if err := holder.cmd.Process.Kill(); err != nil {
		return nil, err
	}
	until, err := waiter.await(ctx, acquired)
	if err != nil {
		return nil, err
	}
	m := &measured{}
	m.took("take-over", until.Sub(from))
	return m, nil
}
