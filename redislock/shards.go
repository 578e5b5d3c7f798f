package redislock

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/server"
)

// Which shards a Cluster has, and where they are.

// nextAsked is how long a node that is asked for the slots may keep the next from
// being asked, too.
const nextAsked = 50 * time.Millisecond

// load returns the slots and the nodes that have them. It is asked for when a node
// has failed: the user's client would take its time with that one, as it dials it
// several times. This one says where to begin.
func (c *cluster) load() ([]redis.ClusterSlot, error) {
	if custom := c.client.Options().ClusterSlots; custom != nil {
		if c.template == nil {
			if _, err := c.learn(c.env.Ctx); err != nil {
				return nil, err
			}
		}
		return custom(c.env.Ctx)
	}
	c.mu.Lock()
	known := slices.Clone(c.known)
	c.mu.Unlock()
	if shards, _ := c.askAny(known, c.env.Options.UnavailableTimeout); shards != nil {
		return shards, nil
	}
	// All have gone, or it is the first time.
	known, err := c.learn(c.env.Ctx)
	if err != nil {
		return nil, err
	}
	return c.askAny(known, dial.Timeout(c.template))
}

// askAny returns the first answer of nodes, each of which has some time for it.
func (c *cluster) askAny(known []*node, timeout time.Duration) (shards []redis.ClusterSlot, err error) {
	// In no order: an answer that is out of date is not to be the first each time.
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] }) //nolint:gosec // spreads load
	ctx, cancel := context.WithCancel(c.env.Ctx)
	defer cancel()
	type answer struct {
		shards []redis.ClusterSlot
		err    error
	}
	answers := make(chan answer, len(known))
	next := time.NewTimer(0)
	defer next.Stop()
	for asked, failed := 0, 0; failed < len(known); {
		select {
		case <-next.C:
			if asked == len(known) {
				continue
			}
			n := known[asked]
			asked++
			c.env.Running.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, timeout) // go-redis heeds no other end of ctx
				defer cancel()
				shards, err := askForSlots(ctx, n.server)
				answers <- answer{shards, err}
			})
			next.Reset(nextAsked)
		case a := <-answers:
			if a.err == nil {
				return a.shards, nil
			}
			err = a.err
			failed++
			next.Reset(0)
		}
	}
	return nil, err
}

// learn returns the nodes that the user's client knows, and finds out the options for all.
func (c *cluster) learn(ctx context.Context) (nodes []*node, err error) {
	err = c.client.ForEachMaster(ctx, func(_ context.Context, client *redis.Client) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.template = client.Options()
		nodes = append(nodes, c.node(c.template.Addr))
		return nil
	})
	return nodes, err
}

// askForSlots asks a server for the slots. Not by CLUSTER SHARDS: this gives the port that is for
// TLS, or the other one.
func askForSlots(ctx context.Context, s *server.Server) ([]redis.ClusterSlot, error) {
	command := redis.NewClusterSlotsCmd(ctx, "cluster", "slots")
	_ = s.Client().Process(ctx, command)
	shards, err := command.Result()
	if err == nil && len(shards) == 0 {
		err = errors.New("no shard of the cluster has slots")
	}
	reachable(shards, s.User.Addr)
	return shards, err
}

// reachable puts addresses in the place of those that can be reached from nowhere else, as
// go-redis does: a node that announces a loopback address is at that of the node that was
// asked, if this is none, and one that announces port 0, for want of one without TLS, at
// its port.
func reachable(shards []redis.ClusterSlot, asked string) {
	host, port, err := net.SplitHostPort(asked)
	if err != nil {
		return
	}
	here := host == "localhost" || strings.HasSuffix(host, ".docker.internal") || net.ParseIP(host).IsLoopback()
	for _, s := range shards {
		for i, member := range s.Nodes {
			h, p, err := net.SplitHostPort(member.Addr)
			if err != nil {
				continue
			}
			if !here && net.ParseIP(h).IsLoopback() {
				h = host
			}
			if p == "0" {
				p = port
			}
			s.Nodes[i].Addr = net.JoinHostPort(h, p)
		}
	}
}
