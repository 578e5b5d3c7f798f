package redislock

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

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
	d := newCluster(client, Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		lock, err := l.Acquire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Release(context.Background()) //nolint:errcheck // the next would fail
	}
	for addr := range d.cluster.nodes {
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
	d := newCluster(client, Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
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
		d.cluster.outdated()
		_, _ = d.cluster.nodeOf(t.Context(), slot) // no shard has it
		d.cluster.mu.Lock()
		defer d.cluster.mu.Unlock()
		return d.cluster.nodes[leaving.Addr]
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
