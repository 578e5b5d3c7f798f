package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

const memoryGoroutines = 8

// memoryWorkloads are about the goroutines of one process.
func memoryWorkloads() []workload {
	memories := func() []contender { return of(inMemory) }
	return []workload{
		{
			name:       "memory/free lock",
			about:      "One goroutine acquires a lock that nobody else wants, and releases it.",
			contenders: memories,
			measure: func(_ context.Context, l *lab, c contender, _ places) (*measured, error) {
				return inBatches(c.memory([]string{lockName}), pick(l, 500*time.Millisecond, 100*time.Millisecond))
			},
		},
		{
			name:       "memory/one name, 8 goroutines",
			about:      "Eight goroutines acquire one lock and release it, with nothing in between: the worst that can happen to it. Those that serve in order have to change goroutines each time.",
			contenders: memories,
			measure: func(_ context.Context, l *lab, c contender, _ places) (*measured, error) {
				return crowd(c, 1, pick(l, 500*time.Millisecond, 100*time.Millisecond))
			},
		},
		{
			name:       "memory/1,024 names, 8 goroutines",
			about:      "Eight goroutines acquire and release locks, each time one of 1,024: a lock for each user, or each file.",
			contenders: memories,
			measure: func(_ context.Context, l *lab, c contender, _ places) (*measured, error) {
				return crowd(c, 1024, pick(l, 500*time.Millisecond, 100*time.Millisecond))
			},
		},
	}
}

// inBatches times pairs by the hundred, as the clock takes as long as a pair.
func inBatches(locks memory, d time.Duration) (*measured, error) {
	const batch = 100
	runtime.GC() // what the one before has left is not for this one to clear
	m := &measured{}
	for end, now := time.Now().Add(d), time.Now(); now.Before(end); {
		for range batch {
			if err := locks.pair(lockName); err != nil {
				return nil, err
			}
		}
		m.add("acquire and release", seconds, time.Since(now).Seconds()/batch)
		now = time.Now()
	}
	return m, nil
}

// crowd has goroutines acquire and release locks at random, for a duration.
func crowd(c contender, locks int, d time.Duration) (*measured, error) {
	names := make([]string, locks)
	for i := range names {
		names[i] = fmt.Sprint(lockName, "-", i)
	}
	l := c.memory(names)
	runtime.GC()
	done, errs := make([]int, memoryGoroutines), make(chan error, memoryGoroutines)
	start := time.Now()
	var all sync.WaitGroup
	for i := range done {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0)) // the same names for all contenders
			n := 0
			for end := start.Add(d); n%64 != 0 || time.Now().Before(end); n++ {
				if err := l.pair(names[random.IntN(len(names))]); err != nil {
					errs <- err
					return
				}
			}
			done[i] = n
		})
	}
	all.Wait()
	took := time.Since(start).Seconds()
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	pairs := 0
	for _, n := range done {
		pairs += n
	}
	m := &measured{}
	m.add("pairs", perSecond, float64(pairs)/took)
	return m, nil
}
