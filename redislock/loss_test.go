package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

var noWait = locker.WithTimeout(0)

const bound = 30 * time.Second // for what happens soon

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(bound):
		t.Fatalf("%s: not within %v", what, bound)
	}
}

func acquire(t *testing.T, l locker.Locker, name string, opts ...locker.Option) locker.Lock {
	t.Helper()
	lock, err := l.Acquire(t.Context(), name, append([]locker.Option{locker.WithTimeout(bound)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func release(t *testing.T, lock locker.Lock) {
	t.Helper()
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A watched context closes waits when its Done is asked for, by one who waits.
type watched struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *watched) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

// poll waits until cond holds.
func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(start) > bound {
			t.Fatalf("%s: not within %v", what, bound)
		}
	}
}

// queued waits until n sessions wait for a lock.
func queued(t *testing.T, s *redistest.Server, name string, n int64) {
	t.Helper()
	poll(t, "waiters in the queue", func() bool { return s.Do("LLEN", name+":locker:queue") == n })
}

func protocols(t *testing.T, f func(t *testing.T, protocol int)) {
	for _, protocol := range []int{3, 2} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			t.Parallel()
			f(t, protocol)
		})
	}
}

// A holder whose connection is killed knows of it before a contender that tries
// all the time is granted the lock.
func TestClientKillIsToldFirst(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		release(t, acquire(t, b, "other")) // connects
		for range 20 {
			lock := acquire(t, a, "n")
			s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n"))
			next := acquire(t, b, "n", locker.WithCheckInterval(time.Millisecond))
			if err := lock.Err(); !errors.Is(err, locker.ErrLost) {
				t.Fatalf("the lock was granted again while the holder's Err was %v", err)
			}
			await(t, "Done", lock.Done())
			if next.Token() <= lock.Token() {
				t.Errorf("token %d after %d", next.Token(), lock.Token())
			}
			release(t, next)
			if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Release of a lost lock: %v", err)
			}
		}
	})
}

// holderClient returns the client id in n:locker:holder.
func holderClient(t *testing.T, s *redistest.Server, name string) string {
	t.Helper()
	value, _ := s.Do("GET", name+":locker:holder").(string)
	f := fields(value)
	if len(f) != 9 {
		t.Fatalf("%s-holder is %q", name, value)
	}
	return f[5]
}

// A restart of the server ends every hold at once; those who wait go on, without
// an error, when it is back.
func TestRestart(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		held := acquire(t, a, "n")
		type result struct {
			lock locker.Lock
			err  error
		}
		results := make(chan result, 2)
		for _, l := range []locker.Locker{a, b} {
			ctx := watched{Context: t.Context(), waits: make(chan struct{})}
			go func() {
				lock, err := l.Acquire(&ctx, "n", locker.WithTimeout(bound))
				results <- result{lock, err}
				if err == nil {
					_ = lock.Release(t.Context())
				}
			}()
			await(t, "the Acquire to join its line", ctx.waits)
			// As soon as this one is told that the lock is held, the waiter is: its
			// first attempt, which an outage may end, is over.
			if _, err := l.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Fatal(err)
			}
		}
		s.Kill()
		await(t, "Done", held.Done())
		if err := held.Err(); !errors.Is(err, locker.ErrLost) {
			t.Errorf("Err = %v", err)
		}
		if _, err := a.Acquire(t.Context(), "other"); !errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("a first attempt while the server is down: %v, want ErrUnavailable", err)
		}
		s.Restart()
		for range 2 {
			if r := <-results; r.err != nil {
				t.Errorf("a waiter was told of the restart: %v", r.err)
			} else if r.lock.Token() <= held.Token() {
				t.Errorf("token %d after %d", r.lock.Token(), held.Token())
			}
		}
	})
}

// FLUSHALL, and keys that are forged, never grant a lock that is held, and tokens
// still grow.
func TestKeysAreHints(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol, locker.WithTimeout(0))
		var last uint64
		for _, spoil := range [][]any{
			{"FLUSHALL"},
			{"SCRIPT", "FLUSH"},
			{"SET", "n:locker:fence", "5"},
			{"SET", "n:locker:holder", "0123456789abcdef0123456789abcdef 1 - 0 0 1 1 1 h"},
			{"DEL", "n:locker:fence", "n:locker:holder"},
			{"RPUSH", "n:locker:queue", "0123456789abcdef0123456789abcdef"},
		} {
			lock := acquire(t, a, "n")
			s.Do(spoil...)
			if _, err := b.Acquire(t.Context(), "n"); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Errorf("after %v: %v, want ErrAlreadyLocked", spoil, err)
			}
			if lock.Err() != nil || lock.Token() <= last {
				t.Errorf("after %v: Err %v, token %d after %d", spoil, lock.Err(), lock.Token(), last)
			}
			last = lock.Token()
			release(t, lock)
			next := acquire(t, b, "n", locker.WithTimeout(bound))
			if next.Token() <= last {
				t.Errorf("after %v: token %d after %d", spoil, next.Token(), last)
			}
			last = next.Token()
			release(t, next)
		}
	})
}

// Those who wait get the lock in their order, also when the queue was lost and
// when one in its midst has died.
func TestQueue(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		lockers := make([]*redislock.Locker, 8)
		for i := range lockers {
			lockers[i] = open(t, s.Addr, protocol)
		}
		for _, tt := range []struct {
			name    string
			disturb func()
			ordered bool
		}{
			{"undisturbed", func() {}, true},
			{"dead waiters", func() { s.Do("LPUSH", "n:locker:queue", strings.Repeat("d", 32), strings.Repeat("e", 32)) }, true},
			{"FLUSHALL", func() { s.Do("FLUSHALL") }, false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				held := acquire(t, lockers[0], "n")
				var mu sync.Mutex
				var order []int
				var all sync.WaitGroup
				for i := 1; i < len(lockers); i++ {
					all.Go(func() {
						lock, err := lockers[i].Acquire(t.Context(), "n", locker.WithTimeout(bound))
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						order = append(order, i)
						mu.Unlock()
						if err := lock.Release(t.Context()); err != nil {
							t.Error(err)
						}
					})
					queued(t, s, "n", int64(i))
				}
				tt.disturb()
				release(t, held)
				all.Wait()
				for i, who := range order {
					if tt.ordered && who != i+1 {
						t.Fatalf("served in the order %v", order)
					}
				}
				if n := s.Do("LLEN", "n:locker:queue"); n != int64(0) {
					t.Errorf("%d in the queue at the end", n)
				}
			})
		}
	})
}

// The commands of a user who has every connection of the pool block do not keep a
// lock waiting.
func TestUserBlocksThePool(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		c := redistest.Start(t).Client(func(o *redis.Options) { o.Protocol, o.PoolSize, o.ReadTimeout = protocol, 1, -1 })
		l := openWith(t, c, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		blocked := make(chan struct{})
		go func() {
			defer close(blocked)
			c.BLPop(ctx, 500*time.Millisecond, "nothing")
		}()
		for range 10 {
			release(t, acquire(t, l, "n"))
		}
		select {
		case <-blocked:
			t.Error("the locks waited for the user's command")
		default:
		}
		<-blocked
	})
}

// The user's client is left open, and its options as they were.
func TestCloseLeavesTheClient(t *testing.T) {
	t.Parallel()
	c := redistest.Start(t).Client(nil)
	l := openWith(t, c, nil)
	release(t, acquire(t, l, "n"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the client after Close: %v", err)
	}
	if n := c.Exists(t.Context(), "n:locker:holder").Val(); n != 0 {
		t.Error("n:locker:holder names a session that is closed: the next holder will wait for it")
	}
}

// Of thousands of locks that are lost together, none is granted again before its
// holder knows.
func TestManyLocksAreLostTogether(t *testing.T) {
	t.Parallel()
	const locks, waiters = 5000, 50
	s := redistest.Start(t)
	holder, other := open(t, s.Addr, 3), open(t, s.Addr, 3)
	held := make([]locker.Lock, locks)
	for i := range held {
		held[i] = acquire(t, holder, fmt.Sprint("n", i))
		held[i].Done()
	}
	var all sync.WaitGroup
	for i := 0; i < locks; i += locks / waiters {
		all.Go(func() {
			lock, err := other.Acquire(t.Context(), fmt.Sprint("n", i), locker.WithTimeout(bound))
			if lost := held[i].Err(); lost == nil {
				t.Error("granted while the Err of the holder is nil")
			}
			if err == nil {
				err = lock.Release(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for i := 0; i < locks; i += locks / waiters {
		queued(t, s, fmt.Sprint("n", i), 1)
	}
	s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n0"))
	all.Wait()
}
