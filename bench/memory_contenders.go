package main

import (
	"context"

	moby "github.com/moby/locker"
	"golang.org/x/sync/semaphore"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
)

func memoryContenders() []contender {
	return []contender{
		{
			name: ours, place: inMemory, memory: func([]string) memory {
				return memlockMemory{memlock.New(locker.WithTimeout(locker.NoTimeout))}
			},
			settings: "github.com/golocker/locker/memlock: its defaults, WithTimeout(NoTimeout)",
		},
		{
			name: "moby/locker", place: inMemory, memory: func([]string) memory { return mobyMemory{moby.New()} },
			settings: "github.com/moby/locker: Lock and Unlock; no ctx, no handle, no token",
		},
		{
			name: "x/sync/semaphore", place: inMemory, memory: func(names []string) memory {
				m := semaphoreMemory{}
				for _, name := range names {
					m[name] = semaphore.NewWeighted(1)
				}
				return m
			},
			settings: "golang.org/x/sync/semaphore: NewWeighted(1), one a name, made beforehand and kept in a map that nobody writes to; no handle, no token",
		},
	}
}

type memlockMemory struct{ *memlock.Locker }

func (m memlockMemory) pair(name string) error {
	ctx := context.Background()
	lock, err := m.Acquire(ctx, name)
	if err != nil {
		return err
	}
	return lock.Release(ctx)
}

type mobyMemory struct{ *moby.Locker }

func (m mobyMemory) pair(name string) error {
	m.Lock(name)
	return m.Unlock(name)
}

type semaphoreMemory map[string]*semaphore.Weighted

func (m semaphoreMemory) pair(name string) error {
	s := m[name]
	if err := s.Acquire(context.Background(), 1); err != nil {
		return err
	}
	s.Release(1)
	return nil
}
