package redislock_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// holderToken returns the token in the hint of a lock, or 0.
func holderToken(s *redistest.Server, name string) uint64 {
	value, _ := s.Do("GET", name+":locker:holder").(string)
	if f := fields(value); len(f) == 9 {
		token, _ := strconv.ParseUint(f[1], 10, 64)
		return token
	}
	return 0
}

// A holder finds by itself that the data was flushed, and restores what is known of its
// locks, also where nobody waits.
func TestHintsComeBackAfterAFlush(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		l := openAlert(t, s.Addr, protocol)
		locks := make(map[string]locker.Lock)
		for i := range 50 {
			name := fmt.Sprint("n", i)
			locks[name] = acquire(t, l, name)
		}
		since := inspect(t, l, "n7").Holder.Since
		for range 3 {
			poll(t, "a heartbeat", func() bool { return len(s.Do("KEYS", "locker:session:*").([]any)) > 0 })
			s.Do("FLUSHALL")
			for name, lock := range locks {
				poll(t, "the hint of "+name, func() bool { return holderToken(s, name) == lock.Token() })
				if ttl := s.Do("TTL", name+":locker:holder").(int64); ttl <= 0 || ttl > 3600 {
					t.Errorf("%s expires after %d s", name, ttl)
				}
				if fence := s.Do("GET", name+":locker:fence").(string); fence != fmt.Sprint(lock.Token()) {
					t.Errorf("the fence of %s is %s, want %d", name, fence, lock.Token())
				}
			}
		}
		if d := inspect(t, l, "n7").Holder.Since.Sub(since).Abs(); d > time.Second {
			t.Errorf("it is held since another time, %v from it", d)
		}
		for name, lock := range locks {
			if lock.Err() != nil {
				t.Errorf("%s: %v", name, lock.Err())
			}
		}
	})
}

// One whose data was flushed is waited for when its connection is cut after that.
func TestLossAfterAFlushIsToldFirst(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		// It waits for longer than a busy machine takes, if it waits.
		next := openWith(t, redistest.Client(t, s.Addr, func(o *redis.Options) { o.Protocol = protocol }),
			&redislock.Options{UnavailableTimeout: calm.UnavailableTimeout, SettleTime: 300 * time.Millisecond})
		for range 12 {
			l := openAlert(t, s.Addr, protocol)
			lock := acquire(t, l, "n")
			poll(t, "a heartbeat", func() bool { return len(s.Do("KEYS", "locker:session:*").([]any)) > 0 })
			s.Do("FLUSHALL")
			poll(t, "the hint", func() bool { return holderToken(s, "n") == lock.Token() })
			s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n"))
			other := acquire(t, next, "n")
			select {
			case <-lock.Done():
			default:
				t.Error("two hold the lock")
			}
			release(t, other)
			l.Close()
		}
	})
}

// A hint that is missing alone comes back when somebody waits.
func TestHintComesBackToAWaiter(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		held := acquire(t, openAlert(t, s.Addr, protocol), "n")
		next := inBackground(t.Context(), t, openAlert(t, s.Addr, protocol))
		queued(t, s, "n", 1)
		s.Do("DEL", "n:locker:holder")
		poll(t, "the hint", func() bool { return holderToken(s, "n") == held.Token() })
		if n := calls(s, "client|list"); n > 0 {
			t.Errorf("CLIENT LIST was run %d times, though the holder answers", n)
		}
		release(t, held)
		release(t, <-next)
	})
}

// calls returns how often a server has run a command.
func calls(s *redistest.Server, command string) int {
	stats := s.Do("INFO", "commandstats").(string)
	m := regexp.MustCompile(`(?m)^cmdstat_` + regexp.QuoteMeta(command) + `:calls=(\d+)`).FindStringSubmatch(stats)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// A holder that leaves no hint here, as it uses another database, costs a waiter no look
// at all connections and channels of the server.
func TestHolderOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		inDB := func(db int) *redislock.Locker {
			return openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.DB = protocol, db }), nil, locker.WithCheckInterval(20*time.Millisecond))
		}
		held := acquire(t, inDB(1), "n")
		next := inBackground(t.Context(), t, inDB(0))
		queued(t, s, "n", 1)
		s.Do("DEL", "n:locker:holder") // which the claim has left here, and the holder will not restore
		looks := calls(s, "evalsha")
		poll(t, "the waiter to look often", func() bool { return calls(s, "evalsha") > looks+50 })
		for _, command := range []string{"client|list", "pubsub|channels"} {
			if n := calls(s, command); n > 0 {
				t.Errorf("%s was run %d times, though the holder answers", command, n)
			}
		}
		release(t, held)
		release(t, <-next)
	})
}

// A waiter goes by what a holder says of its UnavailableTimeout: it cannot be the same
// everywhere while it is changed.
func TestHolderWithALongerTimeout(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		p := startPatientChild(t, s.Addr, time.Hour)
		p.says("held")
		p.freeze()
		l := openWith(t, redistest.Client(t, s.Addr, func(o *redis.Options) { o.Protocol = protocol }),
			&redislock.Options{UnavailableTimeout: 100 * time.Millisecond}, locker.WithCheckInterval(20*time.Millisecond))
		if lock, err := l.Acquire(t.Context(), "n", locker.WithTimeout(2*time.Second)); err == nil {
			t.Fatalf("acquired, token %d", lock.Token())
		}
		p.thaw()
		fmt.Fprintln(p.in)
		p.says("lost false")
	})
}

// With RESP2 a session answers all that ask, also where each command takes a while.
func TestManyContendedLocksFarAway(t *testing.T) {
	t.Parallel()
	const names = 60
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		far := startMoving(t, s.Addr)
		far.delay = 2 * time.Millisecond
		holder, waiter := openAlert(t, far.addr(), protocol), openAlert(t, s.Addr, 3)
		locks := make([]locker.Lock, names)
		waiting := make([]<-chan locker.Lock, names)
		for i := range locks {
			name := fmt.Sprint("n", i)
			locks[i] = acquire(t, holder, name)
			waiting[i] = inBackgroundNamed(t.Context(), t, waiter, name)
			queued(t, s, name, 1)
		}
		looks := calls(s, "evalsha")
		poll(t, "many looks", func() bool { return calls(s, "evalsha") > looks+names*12 })
		for i, lock := range locks {
			if err := lock.Err(); err != nil {
				t.Fatal(err)
			}
			release(t, lock)
			release(t, <-waiting[i])
		}
		if list := s.Do("CLIENT", "LIST").(string); strings.Count(list, "name=locker:session:") < 2 {
			t.Errorf("a session was cut:\n%s", list)
		}
	})
}
