package redislock_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// A meter counts the connections that a client makes, and what is written to
// them.
type meter struct {
	conns, writes, commands atomic.Int64
}

func (m *meter) options(o *redis.Options) {
	dialer := net.Dialer{}
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err == nil {
			m.conns.Add(1)
		}
		return &meteredConn{c, m}, err
	}
}

type meteredConn struct {
	net.Conn
	meter *meter
}

func (c *meteredConn) Write(b []byte) (int, error) {
	c.meter.writes.Add(1)
	c.meter.commands.Add(int64(strings.Count(string(b), "\r\n*")) + 1)
	return c.Conn.Write(b)
}

// A free lock costs one round trip to acquire and one to release.
func TestFreeLockRoundTrips(t *testing.T) {
	t.Parallel()
	var m meter
	l := openWith(t, redistest.Start(t).Client(m.options), calm)
	pair := func() {
		lock, err := l.Acquire(t.Context(), "nightly-report")
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pair() // connects, and the script is new to the server
	const pairs = 100
	writes, commands := m.writes.Load(), m.commands.Load()
	for range pairs {
		pair()
	}
	// Each write waits for the answer to the one before: as many round trips.
	if n := m.writes.Load() - writes; n != 2*pairs {
		t.Errorf("%d pairs took %d round trips, want %d", pairs, n, 2*pairs)
	}
	if n := m.commands.Load() - commands; n != 3*pairs {
		t.Errorf("%d pairs took %d commands, want %d: SUBSCRIBE, EVALSHA, UNSUBSCRIBE", pairs, n, 3*pairs)
	}
	if n := m.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A thousand locks share one connection, and holding one costs no commands.
func TestThousandHeldLocks(t *testing.T) {
	t.Parallel()
	var m meter
	s := redistest.Start(t)
	l := openWith(t, s.Client(m.options), calm)
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if _, err := l.Acquire(t.Context(), fmt.Sprint("lock-", i), locker.WithTimeout(time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	commands, start := m.commands.Load(), time.Now()
	time.Sleep(time.Second) // four check intervals: what would be sent for a lock is sent by then
	most := 1 + int64(time.Since(start)/(calm.UnavailableTimeout/8))
	if n := m.commands.Load() - commands; n > most {
		t.Errorf("%d commands in a second for 1,000 held locks, want %d at most: the session's heartbeats", n, most)
	}
	if n := m.conns.Load(); n != 1 {
		t.Errorf("%d connections for 1,000 held locks, want 1", n)
	}
}

// Goroutines of one process pass the lock on without asking Redis each time.
func TestHandOverInsideTheProcess(t *testing.T) {
	t.Parallel()
	var m meter
	l := openWith(t, redistest.Start(t).Client(m.options), calm, locker.WithTimeout(time.Minute), locker.WithCheckInterval(10*time.Second))
	first, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var last atomic.Uint64
	const goroutines, rounds = 64, 10
	for range goroutines {
		all.Go(func() {
			for range rounds {
				lock, err := l.Acquire(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				if before := last.Swap(lock.Token()); before >= lock.Token() {
					t.Errorf("token %d after %d", lock.Token(), before)
				}
				if err := lock.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	commands := m.commands.Load()
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if n := m.commands.Load() - commands; n > goroutines*rounds/4 {
		t.Errorf("%d hand-overs took %d commands, want fewer than one in four", goroutines*rounds, n)
	}
}

// In a herd, each hand-off costs the clients three script calls at most: to
// queue, to claim and to release. Nobody polls here, so a wake-up that is lost, or
// that goes to one who does not claim, is a stall that ends the test.
func TestHerdScriptCalls(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	const clients, rounds, holds = 64, 10, 64 * 10
	holder := open(t, s.Addr, 3)
	lockers := make([]*redislock.Locker, clients)
	for i := range lockers {
		lockers[i] = open(t, s.Addr, 3, locker.WithTimeout(bound), locker.WithCheckInterval(time.Hour))
	}
	held := acquire(t, holder, "n")
	var all sync.WaitGroup
	for _, l := range lockers {
		all.Go(func() {
			for range rounds {
				lock, err := l.Acquire(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond) // the work
				if err := lock.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	queued(t, s, "n", clients)
	before := scriptCalls(s)
	release(t, held) // the first of the hand-offs
	all.Wait()
	// All have queued once already, and one of the releases is the holder's.
	if calls, most := scriptCalls(s)-before, 3*holds-clients+1; calls > most {
		t.Errorf("%d script calls for %d holds, want %d at most: three for each", calls, holds, most)
	}
}

func scriptCalls(s *redistest.Server) int {
	calls := 0
	for line := range strings.Lines(s.Do("INFO", "commandstats").(string)) {
		var n int
		if _, rest, ok := strings.Cut(line, "cmdstat_evalsha:calls="); ok {
			fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n)
			calls += n
		}
	}
	return calls
}
