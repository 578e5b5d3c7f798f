package locktest_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
)

func brokenReleases() []broken {
	errStaysNil := locking(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, err: func() error { return nil }}
	})
	doneNeverCloses := locking(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, done: make(chan struct{})}
	})
	again := func(second func(lock locker.Lock, ctx context.Context) error) func(locker.Lock) locker.Lock {
		return func(lock locker.Lock) locker.Lock {
			var released atomic.Bool
			return &changed{Lock: lock, release: func(ctx context.Context) error {
				if released.CompareAndSwap(false, true) {
					return lock.Release(ctx)
				}
				return second(lock, ctx)
			}}
		}
	}
	releaseError := func(lock locker.Lock, _ context.Context) error {
		return &locker.Error{Op: "release", Backend: "memory", Name: lock.Name(), Err: locker.ErrReleased}
	}
	freesSuccessor := acquiring(func(l locker.Locker) acquireFunc {
		var latest atomic.Pointer[locker.Lock]
		return breakLocks(l, func(lock locker.Lock) locker.Lock {
			latest.Store(&lock)
			return again(func(_ locker.Lock, ctx context.Context) error {
				return (*latest.Load()).Release(ctx)
			})(lock)
		})
	})
	endedContext := locking(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, release: func(ctx context.Context) error {
			if err := ctx.Err(); err != nil {
				return &locker.Error{Op: "release", Backend: "memory", Name: lock.Name(), Err: err}
			}
			return lock.Release(ctx)
		}}
	})
	doneClosesLate := locking(func(lock locker.Lock) locker.Lock {
		done := make(chan struct{})
		release := sync.OnceValue(func() error {
			defer close(done)
			defer time.Sleep(10 * time.Millisecond)
			return lock.Release(context.Background())
		})
		return &changed{Lock: lock, done: done, release: func(context.Context) error { return release() }}
	})
	closedLocker := inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		var closed atomic.Bool
		return &wrapped{
			Locker: l,
			acquire: breakLocks(l, func(lock locker.Lock) locker.Lock {
				return &changed{Lock: lock, release: func(ctx context.Context) error {
					if closed.Load() {
						return &locker.Error{Op: "release", Backend: "memory", Name: lock.Name(), Err: locker.ErrClosed}
					}
					return lock.Release(ctx)
				}}
			}),
			close: func() error { closed.Store(true); return l.Close() },
		}
	})
	return []broken{
		{"err-stays-nil", "Release/ClosesDoneAndSetsErr", errStaysNil},
		{"err-stays-nil-in-context", "Do/ReleaseCancelsContext", errStaysNil},
		{"done-never-closes", "Release/ClosesDoneAndSetsErr", doneNeverCloses},
		{"done-never-closes-in-context", "Do/CloseCancelsContext", doneNeverCloses},
		{"second-release-fails", "Release/Idempotent", locking(again(releaseError))},
		{"one-of-two-releases-fails", "Release/Concurrent", locking(again(releaseError))},
		{"second-release-frees-the-successor", "Release/NeverFreesTheSuccessor", freesSuccessor},
		{"ended-ctx-keeps-the-lock", "Release/ContextEndedBefore", endedContext},
		{"done-closes-late", "Release/DoneClosesBeforeTheSuccessorHolds", doneClosesLate},
		{"release-after-close-fails", "Release/AfterClose", closedLocker},
	}
}

func brokenTokens() []broken {
	var mu sync.Mutex
	opened, tokens := make(map[string]int), make(map[string]uint64)
	forgetful := inMemory(func(l locker.Locker, addr string, _ []locker.Option) locker.Locker {
		mu.Lock()
		defer mu.Unlock()
		opened[addr]++
		return &wrapped{
			Locker: l,
			acquire: breakLocks(l, func(lock locker.Lock) locker.Lock {
				mu.Lock()
				defer mu.Unlock()
				tokens[addr]++
				return &changed{Lock: lock, token: tokens[addr]}
			}),
			close: sync.OnceValue(func() error {
				mu.Lock()
				defer mu.Unlock()
				if opened[addr]--; opened[addr] == 0 {
					tokens[addr] = 0
				}
				return l.Close()
			}),
		}
	})
	perLocker := acquiring(func(l locker.Locker) acquireFunc {
		var token atomic.Uint64
		return breakLocks(l, func(lock locker.Lock) locker.Lock { return &changed{Lock: lock, token: token.Add(1)} })
	})
	var ofTheProcess atomic.Uint64
	return []broken{
		{"token-repeats", "Token/Grows", locking(func(lock locker.Lock) locker.Lock {
			return &changed{Lock: lock, token: lock.Token() &^ 1}
		})},
		{"token-repeats-in-the-queue", "Token/GrowsInTheQueue", locking(func(lock locker.Lock) locker.Lock {
			return &changed{Lock: lock, token: lock.Token() &^ 1}
		})},
		{"token-is-the-lockers-own", "Token/GrowsOverLockers", perLocker},
		{"token-starts-again", "Token/GrowsOverReopening", forgetful},
		{"token-is-the-processes-own", "Token/GrowsOverProcesses", losing(func(lock locker.Lock) locker.Lock {
			return &changed{Lock: lock, token: ofTheProcess.Add(1)}
		})},
	}
}
