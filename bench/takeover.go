package main

import (
	"context"
	"fmt"
	"time"
)

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
	if err := waiter.do(doHold); err != nil {
		return nil, err
	}
	if _, err := waiter.await(ctx, asks); err != nil {
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
