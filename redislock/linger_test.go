package redislock_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// lingers returns the options of a Locker whose locks linger for d.
func lingers(d time.Duration) *redislock.Options {
	o := *calm
	o.Linger = d
	return &o
}

func TestConformanceLinger(t *testing.T) {
	conformanceWith(t, lingers(100*time.Millisecond), func(t testing.TB) string { return "redis://" + redistest.Start(t).Addr })
}

// A lock that lingers is acquired and released without a command. With RESP2 it does
// not linger, and works all the same.
func TestLingerCostsNothing(t *testing.T) {
	for _, protocol := range []int{3, 2} {
		s := redistest.Start(t)
		var m meter
		l := openWith(t, s.Client(func(o *redis.Options) { o.Protocol = protocol; m.options(o) }), lingers(time.Minute), locker.WithCheckInterval(time.Minute))
		const pairs = 1000
		var last uint64
		var before int64
		for i := range pairs {
			if i == 1 {
				before = m.writes.Load()
			}
			lock := acquire(t, l, "n")
			if lock.Token() <= last {
				t.Fatalf("token %d after %d", lock.Token(), last)
			}
			last = lock.Token()
			release(t, lock)
		}
		writes := m.writes.Load() - before
		if protocol == 3 && writes > 10 || protocol == 2 && writes < pairs {
			t.Errorf("RESP%d: %d pairs took %d writes", protocol, pairs-1, writes)
		}
	}
}

// A lock that lingers is free: to another process that does not wait, to one that
// does, and after its time.
func TestLingerIsFree(t *testing.T) {
	s := redistest.Start(t)
	l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
	for _, options := range []*redislock.Options{calm, lingers(time.Hour)} {
		for _, protocol := range []int{3, 2} {
			other := openWith(t, s.Client(func(o *redis.Options) { o.Protocol = protocol }), options, locker.WithCheckInterval(time.Hour))
			var last uint64
			for i := range 50 {
				lock := acquire(t, l, "n")
				if _, err := other.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
					t.Fatal("acquired while it is held, or: ", err)
				}
				release(t, lock)
				wait := noWait
				if i%2 == 1 {
					wait = locker.WithTimeout(bound)
				}
				// The first attempt of one who waits finds it; nobody waits for an hour.
				next, err := other.Acquire(t.Context(), "n", wait)
				if err != nil {
					t.Fatalf("RESP%d, try %d: %v", protocol, i, err)
				}
				if err := lock.Err(); !errors.Is(err, locker.ErrReleased) {
					t.Error(err)
				}
				if lock.Token() <= last || next.Token() <= lock.Token() {
					t.Errorf("tokens %d, %d, %d", last, lock.Token(), next.Token())
				}
				last = next.Token()
				release(t, next)
			}
		}
	}
	short := openWith(t, s.Client(nil), lingers(20*time.Millisecond))
	release(t, acquire(t, short, "short"))
	poll(t, "the lock to be left", func() bool {
		return s.Client(nil).PubSubNumSub(t.Context(), "short").Val()["short"] == 0
	})
	release(t, acquire(t, short, "short"))
}

// Who waits while a process takes the lock again and again has its turn.
func TestLingerLetsOthersIn(t *testing.T) {
	s := redistest.Start(t)
	l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
	other := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			lock, err := l.Acquire(t.Context(), "n", locker.WithTimeout(bound))
			if err == nil {
				err = lock.Release(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 100 {
		release(t, acquire(t, other, "n"))
	}
	close(stop)
	await(t, "the end", stopped)
}

// While a lock lingers, the connection is cut, or all that Redis knows is deleted: the
// next one has it, with a greater token.
func TestLingerIsLost(t *testing.T) {
	s := redistest.Start(t)
	l, other := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Minute)), openWith(t, s.Client(nil), calm)
	var last uint64
	for i := range 20 {
		for range 500 {
			lock := acquire(t, l, "n")
			if lock.Token() <= last {
				t.Fatalf("token %d after %d", lock.Token(), last)
			}
			last = lock.Token()
			release(t, lock)
		}
		next := other
		if i%2 == 0 {
			kept := acquire(t, l, "kept")
			s.Do("CLIENT", "KILL", "TYPE", "pubsub")
			await(t, "the loss of another lock", kept.Done())
			if i%4 == 0 {
				next = l
			}
		} else {
			s.Do("FLUSHALL")
		}
		lock := acquire(t, next, "n")
		if lock.Token() <= last {
			t.Fatalf("token %d after %d", lock.Token(), last)
		}
		last = lock.Token()
		release(t, lock)
	}
}

// Two processes whose locks linger take turns: tokens do not run ahead of the clock, by
// which the next one is greater when all that Redis knows is deleted.
func TestLingerTokensKeepToTheClock(t *testing.T) {
	s := redistest.Start(t)
	a, b := openWith(t, s.Client(nil), lingers(100*time.Millisecond)), openWith(t, s.Client(nil), lingers(100*time.Millisecond))
	var last uint64
	for i := range 600 {
		lock := acquire(t, []locker.Locker{a, b}[i%2], "n")
		if lock.Token() <= last {
			t.Fatalf("token %d after %d", lock.Token(), last)
		}
		last = lock.Token()
		release(t, lock)
	}
	now := s.Client(nil).Time(t.Context()).Val().UnixMicro()
	if ahead := int64(last) - now; ahead > 0 {
		t.Errorf("the token is %d microseconds ahead of the clock", ahead)
	}
}

// So does a lock that is given up early, whoever wants it, and one that is acquired more
// than once in a microsecond.
func TestLingerGivesTokensBack(t *testing.T) {
	for name, want := range map[string]func(t *testing.T, s *redistest.Server, l locker.Locker) locker.Locker{
		"one who waits": func(t *testing.T, s *redistest.Server, _ locker.Locker) locker.Locker {
			return openWith(t, s.Client(nil), calm)
		},
		"one who does not": func(t *testing.T, s *redistest.Server, _ locker.Locker) locker.Locker {
			return openWith(t, s.Client(nil), calm, noWait)
		},
		"the next process": func(t *testing.T, s *redistest.Server, l locker.Locker) locker.Locker {
			_ = l.Close()
			return openWith(t, s.Client(nil), calm)
		},
		"its own next hour": func(_ *testing.T, _ *redistest.Server, l locker.Locker) locker.Locker { return l },
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t)
			client := s.Client(nil)
			for range 30 {
				l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
				var last uint64
				for range 300 {
					lock := acquire(t, l, "n")
					last = lock.Token()
					release(t, lock)
				}
				next := want(t, s, l)
				lock := acquire(t, next, "n")
				token, now := lock.Token(), uint64(client.Time(t.Context()).Val().UnixMicro())
				if token <= last || token > now+100 { // which is less than a claim takes
					t.Errorf("token %d after %d, at %d", token, last, now)
				}
				release(t, lock)
				_ = l.Close()
				_ = next.Close()
			}
		})
	}
}

// The hint that tells who holds the lock, and may linger, is lost while it is held. It is
// made up for by one who does not wait, and the lock is free to all when it is released.
func TestLingerWithoutHint(t *testing.T) {
	s := redistest.Start(t)
	l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
	other := openWith(t, s.Client(nil), calm, locker.WithCheckInterval(time.Hour))
	lock := acquire(t, l, "n")
	s.Do("DEL", "n-holder")
	if _, err := other.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Fatal("acquired while it is held, or: ", err)
	}
	release(t, lock)
	lock, err := other.Acquire(t.Context(), "n", noWait)
	if err != nil {
		t.Fatal("nobody holds it: ", err)
	}
	release(t, lock)
}
