package locktest_test

import (
	"context"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

func brokenTimeouts() []broken {
	positive := func(f func(time.Duration) time.Duration) locktest.Harness {
		return timing(func(timeout time.Duration) time.Duration {
			if timeout == 0 {
				return locker.NoTimeout
			}
			return f(timeout)
		})
	}
	inRealTime := func(h locktest.Harness) locktest.Harness {
		h.Bubble = false
		return h
	}
	early := positive(func(d time.Duration) time.Duration { return d - 5*time.Millisecond })
	late := positive(func(d time.Duration) time.Duration { return d + 5*time.Millisecond })
	atOnce := positive(func(time.Duration) time.Duration { return time.Millisecond })
	ignored := timing(func(time.Duration) time.Duration { return locker.NoTimeout })
	bounded := timing(func(d time.Duration) time.Duration {
		if d == 0 {
			return 10 * time.Millisecond
		}
		return d
	})
	atLeastOneCheck := adding(func(a asked) []locker.Option {
		if !a.wait || a.timeout == 0 {
			return nil
		}
		return []locker.Option{locker.WithTimeout(max(a.timeout, a.checkInterval))}
	})
	ends := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if timeout := ask(opts).timeout; err == nil && timeout > 0 {
				time.AfterFunc(timeout, func() { _ = lock.Release(context.Background()) })
			}
			return lock, err
		}
	})
	defaultIs10s := inMemory(nil)
	open := defaultIs10s.Open
	defaultIs10s.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		return open(t, addr, append([]locker.Option{locker.WithTimeout(10 * time.Second)}, opts...)...)
	}
	return []broken{
		{"gives-up-early", "Timeout/Precise", early},
		{"gives-up-early-in-real-time", "Timeout/Precise", inRealTime(atOnce)},
		{"gives-up-late", "Timeout/Precise", late},
		{"ignores-the-timeout", "Timeout/Precise", ignored},
		{"ignores-the-timeout-in-real-time", "Timeout/Precise", inRealTime(ignored)},
		{"ignores-the-timeout-until-the-check", "Timeout/PreciseWithLongCheckInterval", atLeastOneCheck},
		{"default-timeout-is-10s", "Timeout/DefaultIs5s", defaultIs10s},
		{"no-timeout-is-some-timeout", "Timeout/NoTimeoutWaits", inRealTime(bounded)},
		{"refuses-late", "Timeout/ZeroDoesNotWait", acquiring(func(l locker.Locker) acquireFunc {
			return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
				lock, err := l.Acquire(ctx, name, opts...)
				if err != nil {
					time.Sleep(time.Millisecond)
				}
				return lock, err
			}
		})},
		{"prefers-its-timeout-to-a-deadline", "Timeout/DeadlineOfContextIsEarlier", acquiring(func(l locker.Locker) acquireFunc {
			return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
				return l.Acquire(context.WithoutCancel(ctx), name, opts...)
			}
		})},
		{"timeout-ends-the-lock", "Timeout/EndsWithTheWait", ends},
		{"sleeps-through-the-release", "Timeout/ReleaseEndsTheWait", acquiring(func(l locker.Locker) acquireFunc { return polling(l, time.Second) })},
	}
}

func brokenContexts() []broken {
	endedBefore := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if ctx.Err() != nil {
				ctx = context.WithoutCancel(ctx)
			}
			return l.Acquire(ctx, name, opts...)
		}
	})
	ignored := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			return l.Acquire(context.WithoutCancel(ctx), name, opts...)
		}
	})
	endsAll := acquiring(func(l locker.Locker) acquireFunc {
		all, endAll := context.WithCancel(context.Background())
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if !ask(opts).wait {
				return l.Acquire(ctx, name, opts...)
			}
			own, end := context.WithCancel(ctx)
			defer end()
			stopAll := context.AfterFunc(all, end)
			defer stopAll()
			lock, err := l.Acquire(own, name, opts...)
			if ctx.Err() != nil {
				endAll()
			}
			return lock, err
		}
	})
	endsTheLock := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = lock.Release(context.Background()) })
			}
			return lock, err
		}
	})
	dropsTheGrant := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if err == nil {
				time.Sleep(time.Millisecond)
				if ctx.Err() != nil {
					return nil, &locker.Error{Op: "acquire", Backend: "memory", Name: name, Err: ctx.Err()}
				}
			}
			return lock, err
		}
	})
	return []broken{
		{"acquires-with-ended-ctx", "Context/EndedBefore", endedBefore},
		{"ignores-ctx", "Context/EndsTheWait", ignored},
		{"ctx-of-one-ends-all", "Context/EndsTheWaitOfOneAlone", endsAll},
		{"ctx-ends-the-lock", "Context/CanceledLaterLeavesTheLock", endsTheLock},
		{"deadline-ends-the-lock", "Context/DeadlineLaterLeavesTheLock", endsTheLock},
		{"drops-a-lock-at-the-end-of-ctx", "Context/EndRacesTheGrant", dropsTheGrant},
	}
}
