package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	locksHeld   = 1000
	idleWaiters = 200
)

// costWorkloads are about what locks cost while nothing happens: it decides how many
// a server, and a process, can have.
func costWorkloads() []workload {
	redisOnly := func() []contender { return of(inRedis) }
	return []workload{
		{
			name:       "redis/cost of 1,000 held locks",
			about:      "One client holds 1,000 locks, renewed where they have to be, and does nothing else: what that costs the server and the process.",
			contenders: redisOnly,
			slow:       true,
			measure:    costOfHeld,
		},
		{
			name:       "redis/cost of 200 waiters",
			about:      "200 goroutines of one client wait for one lock that another client holds for long: what that costs the server and the process. The commands are those of the holder, too.",
			contenders: redisOnly,
			slow:       true,
			measure:    costOfWaiting,
		},
	}
}

func costOfHeld(ctx context.Context, l *lab, c contender, p places) (_ *measured, err error) {
	before, err := takeStock(ctx, l)
	if err != nil {
		return nil, err
	}
	client, err := c.open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.close()) }()
	releases := make([]func() error, locksHeld)
	defer func() {
		var all sync.WaitGroup
		for _, release := range releases {
			if release != nil {
				all.Go(func() { _ = release() }) // a TTL may have passed
			}
		}
		all.Wait()
	}()
	for i := range releases {
		if releases[i], err = hold(ctx, client, fmt.Sprint(lockName, "-", i)); err != nil {
			return nil, err
		}
	}
	m := &measured{}
	return m, idle(ctx, l, m, before, c.renews, "lock", locksHeld)
}

func costOfWaiting(ctx context.Context, l *lab, c contender, p places) (_ *measured, err error) {
	other, err := c.open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.close()) }()
	release, err := hold(ctx, other, lockName)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()

	before, err := takeStock(ctx, l)
	if err != nil {
		return nil, err
	}
	client, err := c.open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.close()) }()
	waiting, giveUp := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer giveUp()
	early := make(chan error, idleWaiters)
	for range idleWaiters {
		all.Go(func() {
			release, err := client.acquire(waiting, lockName)
			if waiting.Err() == nil {
				early <- fmt.Errorf("a waiter did not wait: %w", err)
			}
			if err == nil {
				_ = release()
			}
		})
	}
	m := &measured{}
	if err := idle(ctx, l, m, before, 0, "waiter", idleWaiters); err != nil {
		return nil, err
	}
	select {
	case err := <-early:
		return nil, err
	default:
		return m, nil
	}
}

// idle waits until all have settled, and adds what they cost from then on, for as long
// as from one renewal to the next at least.
func idle(ctx context.Context, l *lab, m *measured, before stock, renews time.Duration, what string, n float64) error {
	sleep(ctx, pick(l, time.Second, 300*time.Millisecond))
	from, err := takeStock(ctx, l)
	if err != nil {
		return err
	}
	sleep(ctx, max(renews, pick(l, 2*time.Second, 500*time.Millisecond)))
	until, err := takeStock(ctx, l)
	if err != nil {
		return err
	}
	m.add("commands a second", count, (until.commands-from.commands)/until.at.Sub(from.at).Seconds())
	m.add("connections", count, until.connections-before.connections)
	m.add("goroutines", count, until.goroutines-before.goroutines)
	m.add("memory of the process per "+what, bytesUsed, max(0, until.memory-before.memory)/n)
	m.add("memory of the server per "+what, bytesUsed, max(0, until.serverMemory-before.serverMemory)/n)
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// A stock is what is in use at a moment.
type stock struct {
	at                    time.Time
	commands, connections float64 // of the server; without INFO
	goroutines            float64
	memory                float64 // heap and stacks, in bytes
	serverMemory          float64 // in bytes
}

func takeStock(ctx context.Context, l *lab) (stock, error) {
	var s stock
	runtime.GC()
	runtime.GC() // what has a finalizer goes with the second
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.memory = float64(mem.HeapAlloc + mem.StackInuse)
	s.goroutines = float64(runtime.NumGoroutine())
	s.at = time.Now()
	commands, err := info(ctx, l.redis, "commandstats")
	if err != nil {
		return s, err
	}
	for name, values := range commands {
		if name == "cmdstat_info" {
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(values, "calls="), ",")
		s.commands += number(calls)
	}
	clients, err := info(ctx, l.redis, "clients")
	if err != nil {
		return s, err
	}
	memory, err := info(ctx, l.redis, "memory")
	if err != nil {
		return s, err
	}
	s.connections, err = strconv.ParseFloat(clients["connected_clients"], 64)
	s.serverMemory = number(memory["used_memory"])
	return s, err
}

// info returns a section of what a server says about itself.
func info(ctx context.Context, c *redis.Client, section string) (map[string]string, error) {
	text, err := c.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[name] = value
		}
	}
	return values, nil
}
