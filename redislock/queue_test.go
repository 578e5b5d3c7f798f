package redislock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// Those who move up in a queue look as often as their new place wants. When the
// holder dies just then, the next one has the lock within a check interval, and
// not within the many of its old place.
func TestMovedUp(t *testing.T) {
	t.Parallel()
	const waiters, checkInterval = 12, 500 * time.Millisecond
	for _, tt := range []struct {
		name string
		end  func(*testing.T, *redistest.Server, locker.Lock) // of the last holder but one
	}{
		{"holder killed", func(t *testing.T, s *redistest.Server, _ locker.Lock) {
			s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n"))
		}},
		{"queue lost", func(t *testing.T, s *redistest.Server, lock locker.Lock) {
			s.Do("FLUSHALL")
			_ = lock.Release(t.Context())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			lockers := make([]*redislock.Locker, waiters+1)
			for i := range lockers {
				lockers[i] = open(t, s.Addr, 3, locker.WithCheckInterval(checkInterval), locker.WithTimeout(bound))
			}
			first := acquire(t, lockers[0], "n")
			var all sync.WaitGroup
			var freed time.Time
			for i := 1; i <= waiters; i++ {
				all.Go(func() {
					lock, err := lockers[i].Acquire(t.Context(), "n")
					if err != nil {
						t.Error(err)
						return
					}
					switch i {
					case waiters - 1:
						freed = time.Now()
						tt.end(t, s, lock)
						return
					case waiters:
						if waited := time.Since(freed); waited > 5*checkInterval {
							t.Errorf("the last one waited %v for a lock that is free", waited)
						}
					}
					if err := lock.Release(t.Context()); err != nil {
						t.Error(err)
					}
				})
				queued(t, s, "n", int64(i))
			}
			release(t, first)
			all.Wait()
		})
	}
}

// A waiter whose session cannot leave the lock's channel does not keep it.
func TestWaiterThatCannotLeave(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-unsubscribe")
		worker := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, "worker", "secret" }), nil)
		l := open(t, s.Addr, protocol)
		held := acquire(t, l, "n")
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan error)
		go func() {
			_, err := worker.Acquire(ctx, "n", locker.WithTimeout(locker.NoTimeout))
			waited <- err
		}()
		queued(t, s, "n", 1)
		cancel()
		<-waited
		release(t, held)
		release(t, acquire(t, l, "n"))
	})
}

// The channels of a session are no names for its locks: to release one would be
// to lose another.
func TestOwnChannelIsNoName(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, s.Addr, 3)
	lock := acquire(t, l, "x")
	id := fields(s.Do("GET", "x:locker:holder").(string))[0]
	for _, name := range []string{"x:h:" + id, "x:w:" + id, "locker:session:" + id} {
		if _, err := l.Acquire(t.Context(), name); !errors.Is(err, locker.ErrInvalid) {
			t.Errorf("Acquire(%q): %v, want ErrInvalid", name, err)
		}
	}
	release(t, lock)
}
