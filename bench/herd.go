package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// herdWorkloads are about a lock that everybody wants at once, as after a deployment,
// or when a cache has expired: how long until all have had it, who waits for longest,
// and whether they are served in the order in which they came.
func herdWorkloads() []workload {
	var all []workload
	for _, held := range []time.Duration{time.Millisecond, 0} {
		for _, who := range []struct {
			what    string
			clients bool
		}{{"clients", true}, {"goroutines of one client", false}} {
			all = append(all, workload{
				name:       fmt.Sprintf("redis/herd of %s, held %v", who.what, held),
				about:      "64 want one lock at once, ten times each (with -quick 16, twice each), as after a deployment or when a cache expires: how long until all have had it, how long one waits (with a lock that is not fair most wait for nothing, as they have just had it, and few for very long), and how often somebody was served before one who had asked 1 ms earlier.",
				contenders: onServers,
				full:       held == 0, // the same with more haste
				slow:       true,
				measure: func(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
					size, clients := pick(l, 64, 16), 1
					if who.clients {
						clients = size
					}
					return herd(ctx, c, p, size, clients, pick(l, 10, 2), held)
				},
			})
		}
	}
	return all
}

func herd(ctx context.Context, c contender, p places, size, clients, times int, held time.Duration) (_ *measured, err error) {
	members := make([]client, size)
	for i := range members {
		if i >= clients {
			members[i] = members[i%clients]
			continue
		}
		client, err := c.open(ctx, p)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, client.close()) }()
		if err := pair(ctx, client, "warm-up"); err != nil {
			return nil, err
		}
		members[i] = client
	}
	h := herdRun{held: held}
	began := time.Now()
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			for range times {
				if err := h.turn(ctx, m); err != nil {
					h.fail(err)
					return
				}
			}
		})
	}
	all.Wait()
	return h.result(time.Since(began)), h.err
}

// A herdRun is a herd at work.
type herdRun struct {
	held time.Duration

	mu     sync.Mutex
	starts []time.Time // guarded by mu: of the waits, in the order in which they ended
	waits  []float64   // guarded by mu: in seconds
	lost   int         // guarded by mu: releases that have failed, as the TTL had passed
	err    error       // guarded by mu: the first
}

// turn is one turn of one member.
func (h *herdRun) turn(ctx context.Context, c client) error {
	start := time.Now()
	release, err := c.acquire(ctx, lockName)
	if err != nil {
		return err
	}
	now := time.Now()
	h.mu.Lock()
	h.starts = append(h.starts, start)
	h.waits = append(h.waits, now.Sub(start).Seconds())
	h.mu.Unlock()
	if h.held > 0 {
		time.Sleep(h.held)
	}
	if err := release(); err != nil {
		if ctx.Err() != nil {
			return err
		}
		h.mu.Lock()
		h.lost++
		h.mu.Unlock()
	}
	return nil
}

func (h *herdRun) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

func (h *herdRun) result(took time.Duration) *measured {
	inversions := 0
	for i := 1; i < len(h.starts); i++ {
		if h.starts[i].Before(h.starts[i-1].Add(-time.Millisecond)) {
			inversions++
		}
	}
	m := &measured{}
	m.took("until all were served", took)
	m.add("wait of one", seconds, h.waits...)
	m.add("served out of order", count, float64(inversions))
	if h.lost > 0 {
		m.add("lost before the release", count, float64(h.lost))
	}
	return m
}
