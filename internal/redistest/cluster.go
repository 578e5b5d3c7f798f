package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Cluster is three shards, each with a primary and a replica.
type Cluster struct {
	Servers []*Server // the primaries at first, and their replicas in the same order

	t       testing.TB
	elected map[*Server]time.Time // when a planned failover made it the primary
}

const (
	shards      = 3
	nodeTimeout = 1000 // in milliseconds
)

// RequireCluster skips the test if the server that the tests start has no channels of shards.
func RequireCluster(t testing.TB) {
	t.Helper()
	RequireVersion(t, 7, 0, "a Cluster of this library needs sharded channels")
}

// StartCluster starts a Cluster. A primary that does not answer for a second is
// replaced by its replica.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	RequireCluster(t)
	c := &Cluster{t: t, elected: make(map[*Server]time.Time)}
	for i := range 2 * shards {
		_, bus, _ := net.SplitHostPort(freeAddr(t))
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", strconv.Itoa(nodeTimeout), "--cluster-port", bus)
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		c.Servers = append(c.Servers, s)
		if i > 0 {
			host, port, _ := net.SplitHostPort(s.Addr)
			c.Servers[0].Do("CLUSTER", "MEET", host, port, bus)
		}
	}
	for i, s := range c.Servers[:shards] {
		s.Do("CLUSTER", "ADDSLOTSRANGE", i*16384/shards, (i+1)*16384/shards-1)
	}
	c.await("all know each other", func(s *Server) bool {
		return strings.Count(s.Do("CLUSTER", "NODES").(string), "connected") == len(c.Servers)
	})
	for i, s := range c.Servers[shards:] {
		s.Do("CLUSTER", "REPLICATE", c.Servers[i].Do("CLUSTER", "MYID"))
	}
	c.AwaitReplicas()
	return c
}

// AwaitReplicas waits until each shard has a primary and a replica, and all know it.
func (c *Cluster) AwaitReplicas() {
	c.t.Helper()
	c.await("each shard has a replica", func(s *Server) bool {
		nodes := s.Do("CLUSTER", "NODES").(string)
		replication := s.Do("INFO", "replication").(string)
		return strings.Contains(s.Do("CLUSTER", "INFO").(string), "cluster_state:ok") &&
			strings.Count(nodes, "slave ") == shards && !strings.Contains(nodes, "fail") &&
			(strings.Contains(replication, "master_link_status:up") || strings.Contains(replication, "state=online"))
	})
}

// Client returns a client of the cluster, which the test closes. change, if not nil,
// changes its options.
func (c *Cluster) Client(change func(*redis.ClusterOptions)) *redis.ClusterClient {
	return ClusterClient(c.t, c.Addr(), change)
}

// Addr returns the addresses of the servers, with commas between them.
func (c *Cluster) Addr() string {
	var addrs []string
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr)
	}
	return strings.Join(addrs, ",")
}

// ClusterClient returns a client of the Cluster at addr.
func ClusterClient(t testing.TB, addr string, change func(*redis.ClusterOptions)) *redis.ClusterClient {
	o := &redis.ClusterOptions{Addrs: strings.Split(addr, ",")}
	if change != nil {
		change(o)
	}
	c := redis.NewClusterClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// Primary returns the primary of the shard that a key belongs to, and the slot.
func (c *Cluster) Primary(key string) (*Server, int) {
	c.t.Helper()
	for _, s := range c.Servers {
		if !s.alive() {
			continue
		}
		slot := s.Do("CLUSTER", "KEYSLOT", key).(int64)
		client := s.client()
		command := redis.NewClusterSlotsCmd(context.Background(), "cluster", "slots")
		_ = client.Process(context.Background(), command)
		slots, err := command.Result()
		client.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range slots {
			if int64(r.Start) <= slot && slot <= int64(r.End) {
				return c.At(r.Nodes[0].Addr), int(slot)
			}
		}
	}
	c.t.Fatalf("no shard has the slot of %q", key)
	return nil, 0
}

// At returns the server at addr.
func (c *Cluster) At(addr string) *Server {
	c.t.Helper()
	for _, s := range c.Servers {
		if s.Addr == addr {
			return s
		}
	}
	c.t.Fatalf("no server at %s", addr)
	return nil
}

// BeginMove begins to move a slot to another primary.
func (c *Cluster) BeginMove(slot int, from, to *Server) {
	c.t.Helper()
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do("CLUSTER", "MYID"))
}

// Move gives a slot, and the keys in it, to another primary.
func (c *Cluster) Move(slot int, from, to *Server) {
	c.t.Helper()
	c.BeginMove(slot, from, to)
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		keys, _ := from.Do("CLUSTER", "GETKEYSINSLOT", slot, 100).([]any)
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			from.Do("MIGRATE", host, port, key, 0, 5000)
		}
	}
	for _, s := range []*Server{to, from} {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", to.Do("CLUSTER", "MYID"))
	}
}

// FailOver makes the replica of a primary the primary, as an operator would.
func (c *Cluster) FailOver(primary *Server) {
	c.t.Helper()
	replica := c.replicaOf(primary)
	// For so long after its last election, Redis 7.0 takes the votes of that for those
	// of the new one, and the others do not know of a new primary.
	time.Sleep(time.Until(c.elected[replica].Add(electionPause)))
	replica.Do("CLUSTER", "FAILOVER")
	c.elected[replica] = time.Now()
}

const electionPause = 4 * nodeTimeout * time.Millisecond

func (c *Cluster) replicaOf(primary *Server) *Server {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(primary.Addr)
	for _, s := range c.Servers {
		if strings.Contains(s.Do("INFO", "replication").(string), fmt.Sprintf("master_port:%s\r\n", port)) {
			return s
		}
	}
	c.t.Fatalf("%s has no replica", primary.Addr)
	return nil
}

// Flush empties all shards.
func (c *Cluster) Flush() {
	c.t.Helper()
	for _, s := range c.Servers {
		if strings.Contains(s.Do("INFO", "replication").(string), "role:master") {
			s.Do("FLUSHALL")
		}
	}
}

func (c *Cluster) await(what string, cond func(*Server) bool) {
	c.t.Helper()
	start := time.Now()
	for _, s := range c.Servers {
		for !cond(s) {
			if time.Since(start) > 2*patience {
				c.t.Fatalf("%s: not within %v", what, 2*patience)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
