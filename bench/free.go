package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// freeWorkloads are about locks that nobody else wants, which most locks are most of
// the time: what a lock adds to the work that it protects.
func freeWorkloads() []workload {
	var all []workload
	for _, procs := range []struct {
		n    int
		what string
	}{{0, "all processors"}, {1, "GOMAXPROCS=1"}} {
		all = append(all,
			workload{
				name:       "redis/free lock, " + procs.what,
				about:      "One goroutine acquires a lock that nobody else wants, and releases it: what a lock adds to the work that it protects.",
				contenders: onServers,
				measure: func(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
					return free(ctx, c, p, 1, procs.n, pick(l, time.Second, 100*time.Millisecond))
				},
			},
			workload{
				name:       "redis/64 names, " + procs.what,
				about:      "64 goroutines with one client acquire and release locks of different names: how many locks a busy process can take in a second.",
				contenders: onServers,
				measure: func(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
					return free(ctx, c, p, 64, procs.n, pick(l, time.Second, 100*time.Millisecond))
				},
			})
	}
	return append(all, pinnedWorkloads()...)
}

// pinnedWorkloads are the same, but client and server are kept on one processor each, or
// both on one: else which it is is for the kernel to say from one moment to the next, and
// a processor that has to be woken takes longer than all else.
func pinnedWorkloads() []workload {
	cpus := processors()
	if len(cpus) < 2 {
		return nil
	}
	var all []workload
	for _, w := range []struct {
		what, about string
		server      int
	}{
		{"one processor for client and server", "The same, with client and server kept on one processor: what the commands take, in both.", cpus[0]},
		{"a processor each", "The same, with client and server kept on a processor each, which go to sleep and are woken for each command.", cpus[1]},
	} {
		all = append(all, workload{
			name:       "redis/free lock, " + w.what,
			about:      w.about,
			contenders: func() []contender { return of(inRedis) },
			measure: func(ctx context.Context, l *lab, c contender, p places) (m *measured, err error) {
				// As it is set, it does not follow the processors that are left.
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)))
				server, err := processOf(ctx, l.redis)
				if err != nil {
					return nil, err
				}
				for pid, cpu := range map[int]int{server: w.server, os.Getpid(): cpus[0]} {
					unpin, err := pin(pid, cpu)
					if err != nil {
						return nil, err
					}
					defer func() { err = errors.Join(err, unpin()) }()
				}
				return free(ctx, c, p, 1, 1, pick(l, time.Second, 100*time.Millisecond))
			},
		})
	}
	return all
}

// processOf returns the process of a server.
func processOf(ctx context.Context, c *redis.Client) (pid int, err error) {
	info, err := c.InfoMap(ctx, "server").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(info["Server"]["process_id"])
}

// free has goroutines acquire and release locks of their own, for a duration. procs
// is how many processors they have; 0: all.
func free(ctx context.Context, c contender, p places, goroutines, procs int, d time.Duration) (_ *measured, err error) {
	if procs > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	}
	client, err := c.open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.close()) }()
	names := make([]string, goroutines)
	for i := range names {
		names[i] = fmt.Sprint(lockName, "-", i)
	}
	// The first pair of each makes connections, and loads scripts.
	if _, err := pairs(ctx, client, names, time.Time{}); err != nil {
		return nil, err
	}
	start := time.Now()
	took, err := pairs(ctx, client, names, start.Add(d))
	if err != nil {
		return nil, err
	}
	made := float64(len(took)) / time.Since(start).Seconds()
	m := &measured{}
	if goroutines > 1 {
		m.add("pairs", perSecond, made)
		m.add("acquire and release", seconds, took...)
	} else {
		m.add("acquire and release", seconds, took...)
		m.add("pairs", perSecond, made)
	}
	return m, nil
}

// pairs has a goroutine for each name acquire and release it until the end, once at
// least, and returns how long each pair took, in seconds.
func pairs(ctx context.Context, c client, names []string, end time.Time) ([]float64, error) {
	took, errs := make([][]float64, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			for now := time.Now(); ; {
				if errs[i] = pair(ctx, c, name); errs[i] != nil {
					return
				}
				next := time.Now()
				took[i] = append(took[i], next.Sub(now).Seconds())
				if now = next; !now.Before(end) {
					return
				}
			}
		})
	}
	all.Wait()
	var flat []float64
	for _, t := range took {
		flat = append(flat, t...)
	}
	return flat, errors.Join(errs...)
}

func pair(ctx context.Context, c client, name string) error {
	release, err := c.acquire(ctx, name)
	if err != nil {
		return err
	}
	return release()
}
