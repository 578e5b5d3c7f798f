// Package conformance runs the suite of locktest for redislock on all kinds of servers. It
// is a package of its own, as the suite counts goroutines: nothing may run beside it.
package conformance

import (
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/locktest"
	"github.com/golocker/locker/redislock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calm is for tests that are not about holders that hang: on a machine with too much
// to do, a process may stand still for longer than the default allows.
var calm = redislock.Options{UnavailableTimeout: 10 * time.Second}

func open(t testing.TB, c redis.UniversalClient, o redislock.Options, opts ...locker.Option) *redislock.Locker {
	t.Helper()
	l, err := redislock.New(c, &o, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func options(protocol int) func(*redis.Options) {
	return func(o *redis.Options) { o.Protocol = protocol }
}

// With RESP3 scripts run on the session's connection, with RESP2 through the
// client.
func TestRESP3(t *testing.T) { single(t, 3, calm) }
func TestRESP2(t *testing.T) { single(t, 2, calm) }

// Each lock has a connection of its own there.
func TestPortalockerNames(t *testing.T) {
	o := calm
	o.PortalockerNames = true
	single(t, 3, o)
}

func single(t *testing.T, protocol int, o redislock.Options) {
	redistest.Require(t, "redis-server")
	locktest.Run(t, locktest.Harness{
		New: func(t testing.TB) string { return redistest.Start(t).Addr },
		Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
			return open(t, redistest.Client(t, addr, options(protocol)), o, opts...)
		},
		CrossProcess: true,
		Recovery:     500 * time.Millisecond, // two check intervals: the waiter at the head may be killed with the holder
		Break: func(t testing.TB, addr string, _ locker.Lock) {
			if err := redistest.Client(t, addr, nil).Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func TestMiniredis(t *testing.T) {
	var mu sync.Mutex
	servers := make(map[string]*miniredis.Miniredis)
	locktest.Run(t, locktest.Harness{
		New: func(t testing.TB) string {
			m := miniredis.RunT(t)
			mu.Lock()
			defer mu.Unlock()
			servers[m.Addr()] = m
			return m.Addr()
		},
		Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
			return open(t, redistest.Client(t, addr, options(3)), calm, opts...)
		},
		CrossProcess: true,
		Recovery:     500 * time.Millisecond,
		Break: func(t testing.TB, addr string, _ locker.Lock) {
			mu.Lock()
			defer mu.Unlock()
			servers[addr].Close()
			if err := servers[addr].Restart(); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func TestClusterRESP3(t *testing.T) { cluster(t, 3) }
func TestClusterRESP2(t *testing.T) { cluster(t, 2) }

// cluster runs the suite on Clusters that are used again, emptied, as it
// takes a while to start one.
func cluster(t *testing.T, protocol int) {
	redistest.RequireCluster(t)
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	var mu sync.Mutex
	var unused []*redistest.Cluster
	all := make(map[string]*redistest.Cluster)
	locktest.Run(t, locktest.Harness{
		New: func(sub testing.TB) string {
			mu.Lock()
			defer mu.Unlock()
			var c *redistest.Cluster
			if n := len(unused); n > 0 {
				c, unused = unused[n-1], unused[:n-1]
			} else {
				c = redistest.StartCluster(t)
				all[c.Addr()] = c
			}
			sub.Cleanup(func() {
				c.Flush()
				mu.Lock()
				defer mu.Unlock()
				unused = append(unused, c)
			})
			return c.Addr()
		},
		Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
			c := redistest.ClusterClient(t, addr, func(o *redis.ClusterOptions) { o.Protocol = protocol })
			return open(t, c, calm, opts...)
		},
		CrossProcess: true,
		Recovery:     500 * time.Millisecond,
		Break: func(_ testing.TB, addr string, _ locker.Lock) {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range all[addr].Servers {
				s.Do("CLIENT", "KILL", "TYPE", "pubsub")
			}
		},
	})
}
