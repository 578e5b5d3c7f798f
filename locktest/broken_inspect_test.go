package locktest_test

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

func brokenInspectors() []broken {
	return []broken{
		{"inspect-shows-the-holder-of-before", "Inspect/NoHolderOfBefore", inspecting(func(m *misled) { m.inspect = m.lastKnown })},
		{"inspect-shows-no-holder", "Inspect/Holder", inspecting(func(m *misled) {
			m.inspect = func(_ context.Context, name string) (locker.Info, error) { return locker.Info{Name: name}, nil }
		})},
		{"inspect-counts-the-holder", "Inspect/Waiters", inspecting(func(m *misled) {
			m.inspect = func(ctx context.Context, name string) (locker.Info, error) {
				info, err := m.Inspector.Inspect(ctx, name)
				if info.Held {
					info.Waiters++
				}
				return info, err
			}
		})},
		{"inspect-takes-the-lock", "Inspect/DisturbsNobody", inspecting(func(m *misled) {
			m.inspect = func(ctx context.Context, name string) (locker.Info, error) {
				if lock, err := m.Acquire(ctx, name, locker.WithTimeout(0)); err == nil {
					time.Sleep(time.Millisecond)
					defer func() { _ = lock.Release(context.WithoutCancel(ctx)) }()
				}
				return m.Inspector.Inspect(ctx, name)
			}
		})},
		{"names-of-all-that-were-held", "Inspect/Names", inspecting(func(m *misled) { m.names = m.everHeld })},
		{"break-tells-nobody", "Inspect/BreaksAHeldLock", inspecting(func(m *misled) {
			m.breaks = func(context.Context, string) error { return nil }
		})},
	}
}

// A misled is a Locker that inspects with other functions.
type misled struct {
	locker.Locker
	locker.Inspector
	inspect func(context.Context, string) (locker.Info, error)
	names   func(context.Context) iter.Seq2[string, error]
	breaks  func(context.Context, string) error

	*memory
}

// A memory is what a misled has heard of.
type memory struct {
	sync.Mutex
	held map[string]locker.Info
}

// inspecting has the Locker inspect as breaks makes it.
func inspecting(breaks func(m *misled)) locktest.Harness {
	known := &memory{held: make(map[string]locker.Info)}
	return inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		i := l.(locker.Inspector)
		m := &misled{Locker: l, Inspector: i, inspect: i.Inspect, names: i.Names, breaks: i.Break, memory: known}
		breaks(m)
		return m
	})
}

func (m *misled) Acquire(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
	lock, err := m.Locker.Acquire(ctx, name, opts...)
	if err == nil {
		m.Lock()
		defer m.Unlock()
		m.held[name] = locker.Info{Name: name, Held: true, Holder: locker.Holder{Token: lock.Token()}}
	}
	return lock, err
}

func (m *misled) Inspect(ctx context.Context, name string) (locker.Info, error) {
	return m.inspect(ctx, name)
}
func (m *misled) Names(ctx context.Context) iter.Seq2[string, error] { return m.names(ctx) }
func (m *misled) Break(ctx context.Context, name string) error       { return m.breaks(ctx, name) }

func (m *misled) lastKnown(ctx context.Context, name string) (locker.Info, error) {
	m.Lock()
	defer m.Unlock()
	if info, ok := m.held[name]; ok {
		return info, nil
	}
	return m.Inspector.Inspect(ctx, name)
}

func (m *misled) everHeld(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		seen := make(map[string]bool)
		for name, err := range m.Inspector.Names(ctx) {
			seen[name] = true
			if !yield(name, err) {
				return
			}
		}
		m.Lock()
		defer m.Unlock()
		for name := range m.held {
			if !seen[name] && !yield(name, nil) {
				return
			}
		}
	}
}
