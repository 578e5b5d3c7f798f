package redislock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// openCluster returns a Locker in a Cluster, and its topology.
func openCluster(t *testing.T, client *redis.ClusterClient) (*locker.Base, *cluster) {
	t.Helper()
	d, err := driverFor(client, Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	l := locker.NewBase(d)
	d.env.Log = l.Logger()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, d.topology.(*cluster)
}

// A Cluster whose nodes announce an address that leads there from their own machine alone
// is reached by the address of the node that was asked.
func TestReachable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asked, announced, want string }{
		{"10.0.0.1:7000", "10.0.0.2:7001", "10.0.0.2:7001"},
		{"10.0.0.1:7000", "127.0.0.1:7001", "10.0.0.1:7001"},
		{"redis.example:7000", "127.0.0.1:7001", "redis.example:7001"},
		{"redis.example:7000", "other.example:0", "other.example:7000"},
		{"[2001:db8::1]:7000", "[::1]:0", "[2001:db8::1]:7000"},
		{"localhost:7000", "127.0.0.2:7001", "127.0.0.2:7001"},
		{"127.0.0.1:7000", "127.0.0.2:0", "127.0.0.2:7000"},
		{"/run/redis.sock", "127.0.0.1:7001", "127.0.0.1:7001"},
	} {
		shards := []redis.ClusterSlot{{Nodes: []redis.ClusterNode{{Addr: tt.announced}}}}
		reachable(shards, tt.asked)
		if got := shards[0].Nodes[0].Addr; got != tt.want {
			t.Errorf("asked %s, which announces %s: %s, want %s", tt.asked, tt.announced, got, tt.want)
		}
	}
}

// All shards of a Cluster in containers, say, whose nodes announce 127.0.0.1, can be locked in.
func TestClusterThatAnnouncesLoopback(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	servers := redistest.StartCluster(t)
	_, port, _ := net.SplitHostPort(servers.Servers[0].Addr)
	client := servers.Client(func(o *redis.ClusterOptions) {
		o.Addrs = []string{"redis.example:" + port}
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			port, ok := strings.CutPrefix(addr, "redis.example:")
			if !ok {
				return nil, errors.New(addr + " leads nowhere from here")
			}
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		}
	})
	l, nodes := openCluster(t, client)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		lock, err := l.Acquire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Release(context.Background()) //nolint:errcheck // the next would fail
	}
	for addr := range nodes.byAddr {
		if !strings.HasPrefix(addr, "redis.example:") {
			t.Errorf("a node at %s", addr)
		}
	}
}

// A node that has left the Cluster is forgotten, and its connections are closed, as soon as
// no lock is held there.
func TestNodesThatHaveLeftAreForgotten(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	servers := redistest.StartCluster(t)
	command := redis.NewClusterSlotsCmd(t.Context(), "cluster", "slots")
	_ = servers.Client(nil).Process(t.Context(), command)
	first, err := command.Result()
	if err != nil {
		t.Fatal(err)
	}
	named := make(chan []redis.ClusterSlot, 1)
	named <- first
	client := servers.Client(func(o *redis.ClusterOptions) {
		o.Addrs = nil
		o.ClusterSlots = func(context.Context) ([]redis.ClusterSlot, error) {
			shards := <-named
			named <- shards
			return slices.Clone(shards), nil
		}
	})
	l, nodes := openCluster(t, client)
	leaving, slot := servers.Primary("n")
	held, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	sessions := func() int {
		list, _ := leaving.Do("CLIENT", "LIST").(string)
		return strings.Count(list, "name=locker:session:")
	}
	// Only the slots of other shards are named from now on.
	<-named
	named <- slices.DeleteFunc(first, func(s redis.ClusterSlot) bool { return s.Start <= slot && slot <= s.End })
	ask := func() *node {
		nodes.outdated()
		_, _ = nodes.nodeOf(t.Context(), slot) // no shard has it
		nodes.mu.Lock()
		defer nodes.mu.Unlock()
		return nodes.byAddr[leaving.Addr]
	}
	if ask() == nil || held.Err() != nil || sessions() != 1 {
		t.Fatalf("the node is forgotten while a lock is held there: Err = %v, %d sessions", held.Err(), sessions())
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ask() != nil || sessions() != 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the node is not forgotten: %d sessions", sessions())
		}
	}
}

// A replica would let a session wait on its channels. An attempt that has come to one, as
// the slots were another's before, leaves no session there: when it is the primary one
// day, nobody would take its turn.
func TestNoPlaceAtAReplica(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	c := redistest.StartCluster(t)
	l, nodes := openCluster(t, c.Client(nil))
	replica := c.Servers[len(c.Servers)-1].Addr
	name := "n"
	for i := 0; protocol.Slot(name) < 2*protocol.Slots/3; i++ { // one of the shard of that replica
		name = fmt.Sprint("n", i)
	}
	node, err := c.Client(nil).MasterForKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	nodes.template = node.Options()
	nodes.node(replica)
	nodes.slots, nodes.fresh = []slotRange{{2 * protocol.Slots / 3, protocol.Slots - 1, replica}}, true
	lock, err := l.Acquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if stats, _ := c.At(replica).Do("INFO", "commandstats").(string); !strings.Contains(stats, "cmdstat_ssubscribe:") {
		t.Fatal("the replica was not asked")
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
	_, c := openCluster(t, user)
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
		if n, err := c.nodeOf(t.Context(), protocol.Slots-1); err != nil || n == nil {
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
	if n, err := c.nodeOf(t.Context(), protocol.Slots-1); err != nil || n == nil {
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
