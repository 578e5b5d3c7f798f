package locktest_test

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

func brokenCloses() []broken {
	nothing := closing(func(locker.Locker) func() error { return func() error { return nil } })
	waiters := inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		var mu sync.Mutex
		var locks []locker.Lock
		return &wrapped{
			Locker: l,
			acquire: breakLocks(l, func(lock locker.Lock) locker.Lock {
				mu.Lock()
				defer mu.Unlock()
				locks = append(locks, lock)
				return lock
			}),
			close: func() error {
				mu.Lock()
				defer mu.Unlock()
				for _, lock := range locks {
					_ = lock.Release(context.Background())
				}
				return nil
			},
		}
	})
	second := closing(func(l locker.Locker) func() error {
		var closed atomic.Bool
		return func() error {
			if closed.Swap(true) {
				return locker.ErrClosed
			}
			return l.Close()
		}
	})
	grants := inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		closed := make(chan struct{})
		closeOnce := sync.OnceFunc(func() { close(closed) })
		return &wrapped{
			Locker: l,
			acquire: func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
				select {
				case <-closed:
					return nil, &locker.Error{Op: "acquire", Backend: "memory", Name: name, Err: locker.ErrClosed}
				default:
				}
				select {
				case <-closed: // too late to look
					time.Sleep(5 * time.Millisecond)
				case <-time.After(20 * time.Millisecond):
				}
				return l.Acquire(ctx, name, opts...)
			},
			close: func() error { closeOnce(); return nil },
		}
	})
	doneLate := func(later func(closeDone func())) locktest.Harness {
		return inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
			var mu sync.Mutex
			var ends []func()
			return &wrapped{
				Locker: l,
				acquire: breakLocks(l, func(lock locker.Lock) locker.Lock {
					done := make(chan struct{})
					end := sync.OnceFunc(func() { close(done) })
					mu.Lock()
					defer mu.Unlock()
					ends = append(ends, end)
					return &changed{Lock: lock, done: done, release: func(ctx context.Context) error { end(); return lock.Release(ctx) }}
				}),
				close: func() error {
					err := l.Close()
					later(func() {
						mu.Lock()
						defer mu.Unlock()
						for _, end := range ends {
							end()
						}
					})
					return err
				},
			}
		})
	}
	leaks := inMemory(func(l locker.Locker, _ string, _ []locker.Option) locker.Locker {
		go func() { select {} }()
		return l
	})
	return []broken{
		{"close-leaves-locks-held", "Close/ReleasesHeldLocks", nothing},
		{"done-closes-after-close", "Close/ClosesDoneBeforeItReturns", doneLate(func(closeDone func()) { time.AfterFunc(time.Second, closeDone) })},
		{"close-frees-before-done-closes", "Close/DoneClosesBeforeTheSuccessorHolds", doneLate(func(closeDone func()) {
			time.Sleep(200 * time.Millisecond)
			closeDone()
		})},
		{"close-leaves-waiters", "Close/EndsWaiters", waiters},
		{"second-close-fails", "Close/Idempotent", second},
		{"grants-after-close", "Close/WhileInUse", grants},
		{"close-leaves-a-goroutine", "Close/EndsGoroutines", leaks},
	}
}

func brokenProcesses() []broken {
	neverRecovers := thirdParty()
	neverRecovers.Recovery = time.Second
	queueStays := neverRecovers
	queueStays.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		l := openThirdParty(addr, opts...)
		return &wrapped{Locker: l, acquire: withDefaults(opts, queueing(l, addr))}
	}
	return []broken{
		{"killed-holder-keeps-the-lock", "Process/HolderKilled", neverRecovers},
		{"killed-waiter-keeps-its-place", "Process/WaiterKilled", queueStays},
	}
}

// queueing keeps a queue of files, in which those of killed processes stay.
func queueing(l locker.Locker, dir string) acquireFunc {
	return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
		if !ask(opts).wait {
			return l.Acquire(ctx, name, opts...)
		}
		place := filepath.Join(dir, fmt.Sprintf("%d.place", time.Now().UnixNano()))
		if err := os.WriteFile(place, nil, 0o600); err != nil {
			return nil, err
		}
		defer os.Remove(place)
		for ctx.Err() == nil {
			places, err := filepath.Glob(filepath.Join(dir, "*.place"))
			if err != nil {
				return nil, err
			}
			if slices.Min(places) == place {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
		return l.Acquire(ctx, name, opts...)
	}
}

func brokenNames() []broken {
	cleaned := func(name string) string {
		if name == "" {
			return ""
		}
		return path.Clean(name)
	}
	var lockers atomic.Int64
	own := acquiring(func(l locker.Locker) acquireFunc {
		id := lockers.Add(1)
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, strings.ReplaceAll(name, "*", fmt.Sprint(id)), opts...)
			if err != nil {
				return nil, err
			}
			return &changed{Lock: lock, name: name}, nil
		}
	})
	return []broken{
		{"folds-the-case-of-names", "Names/EachIsALockOfItsOwn", renaming(strings.ToLower)},
		{"takes-names-for-paths", "Names/EachIsALockOfItsOwn", renaming(cleaned)},
		{"trims-names", "Names/EachIsALockOfItsOwn", renaming(strings.TrimSpace)},
		{"returns-another-name", "Names/EachIsALockOfItsOwn", locking(func(lock locker.Lock) locker.Lock {
			return &changed{Lock: lock, name: strconv.QuoteToASCII(lock.Name())}
		})},
		{"grants-an-odd-name-twice", "Names/EachExcludesItself", own},
	}
}
