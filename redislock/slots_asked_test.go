package redislock

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// A replica would let a session wait on its channels. An attempt that has come to one, as
// the slots were another's before, leaves no session there: when it is the primary one
// day, nobody would take its turn.
func TestNoPlaceAtAReplica(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	c := redistest.StartCluster(t)
	d := newCluster(c.Client(nil), Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
	replica := c.Servers[len(c.Servers)-1].Addr
	name := "n"
	for i := 0; slotOf(name) < 2*slots/3; i++ { // one of the shard of that replica
		name = fmt.Sprint("n", i)
	}
	node, err := c.Client(nil).MasterForKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	d.cluster.template = node.Options()
	asked := d.cluster.node(replica)
	d.cluster.slots, d.cluster.fresh = []slotRange{{2 * slots / 3, slots - 1, replica}}, true
	lock, err := l.Acquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if stats, _ := c.At(replica).Do("INFO", "commandstats").(string); !strings.Contains(stats, "cmdstat_ssubscribe:") {
		t.Fatal("the replica was not asked")
	}
	if asked.current("") != nil {
		t.Error("there is a session at the replica")
	}
	at := redistest.Client(t, replica, nil)
	for began := time.Now(); ; time.Sleep(time.Millisecond) { // what a session that has ended leaves to the server
		left, err := at.PubSubShardChannels(t.Context(), "*").Result()
		if err == nil && len(left) == 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("subscribed at the replica: %q, %v", left, err)
		}
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Which shard has which slots is asked by clients of our own: when a node has failed,
// the user's takes its time to dial that one, while a lock is free.
func TestSlotsAreNotAskedByTheUsersClient(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	servers := redistest.StartCluster(t)
	user := servers.Client(nil)
	d := newCluster(user, Options{UnavailableTimeout: time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := d.cluster
	if n, err := c.nodeOf(t.Context(), 0); err != nil || n == nil {
		t.Fatal(n, err)
	}
	if len(c.slots) != 3 || len(c.known) < 3 {
		t.Fatalf("%d ranges of slots, %d nodes; want 3, and 3 or more", len(c.slots), len(c.known))
	}
	servers.Servers[0].Kill()
	var used commandCounter
	user.AddHook(&used)
	for range 20 {
		c.outdated()
		if n, err := c.nodeOf(t.Context(), slots-1); err != nil || n == nil {
			t.Fatal(n, err)
		}
	}
	if n := used.Load(); n != 0 {
		t.Errorf("the user's client was asked %d times", n)
	}
	// It says where to begin when all that were known have gone.
	c.mu.Lock()
	c.known = []*node{c.node("127.0.0.1:1")}
	c.mu.Unlock()
	c.outdated()
	if n, err := c.nodeOf(t.Context(), slots-1); err != nil || n == nil {
		t.Error(n, err)
	}
}

// A commandCounter counts the commands of a client.
type commandCounter struct{ atomic.Int64 }

func (*commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

func (*commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
