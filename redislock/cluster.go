package redislock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// A cluster is the shards of a Redis Cluster. A lock is in the shard that its name's
// slot belongs to; there is one session a shard, to its primary, and its channels
// are those of the shard (SSUBSCRIBE). When a slot moves to another shard, the
// server drops the channels in it, and its locks are lost.
type cluster struct {
	env    *server.Env
	client *redis.ClusterClient
	scheme protocol.Scheme

	template *redis.Options // of any node's client; known once there are nodes. Only ask uses it

	mu     sync.Mutex
	byAddr map[string]*node // guarded by mu
	slots  []slotRange      // guarded by mu: as last heard
	known  []*node          // guarded by mu: the primaries and replicas that were named then
	fresh  bool             // guarded by mu: nothing since says that slots is out of date
	asking chan struct{}    // guarded by mu: closed when those who ask for the slots have them, or askErr
	askErr error            // guarded by mu
}

// A slotRange is slots that belong to one primary.
type slotRange struct {
	first, last int
	addr        string
}

func newCluster(e *server.Env, client *redis.ClusterClient) *cluster {
	return &cluster{env: e, client: client, scheme: protocol.Scheme{Sharded: true}, byAddr: make(map[string]*node)}
}

// redirectPause is how long an attempt waits that comes while a slot is on its way
// from one shard to another. It does so for no longer than the unavailable timeout.
const redirectPause = 20 * time.Millisecond

// try makes one attempt.
func (c *cluster) try(ctx context.Context, a *locker.Attempt) (g locker.Grant, err error) {
	err = c.on(ctx, a.Name, func(n *node) error {
		g, err = n.pool.Try(ctx, a)
		if err != nil && ctx.Err() == nil && resp.Code(err) == "MOVED" {
			// A replica lets the session wait on its channels, and runs no script. When it
			// is the primary one day, the session would count as one who waits.
			n.pool.Leave(ctx, a.Name)
		}
		return err
	})
	return g, err
}

func (c *cluster) at(ctx context.Context, name string, fn func(*server.Server) error) error {
	return c.on(ctx, name, func(n *node) error { return fn(n.server) })
}

// on calls fn with the primary of the shard that has a lock, and again, for a time at
// most, where the shards have changed.
func (c *cluster) on(ctx context.Context, name string, fn func(*node) error) error {
	slot := protocol.Slot(c.scheme.Channel(name))
	n, err := c.nodeOf(ctx, slot)
	for began := time.Now(); err == nil; {
		err = fn(n)
		if err == nil || ctx.Err() != nil || errors.Is(err, locker.ErrAlreadyLocked) || errors.Is(err, locker.ErrInvalid) {
			return err
		}
		c.outdated()
		other, e := c.nodeOf(ctx, slot)
		switch {
		case e != nil || time.Since(began) > c.env.Options.UnavailableTimeout:
			return err
		case other != n:
			n, err = other, nil
		case resp.IsRedirect(err):
			select {
			case <-time.After(redirectPause):
				err = nil
			case <-ctx.Done():
			}
		}
	}
	return err
}

// nodes returns the nodes that are, or were, part of the cluster.
func (c *cluster) nodes() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.byAddr))
}

func (c *cluster) primaries(ctx context.Context) ([]*server.Server, error) {
	c.outdated()
	if _, err := c.nodeOf(ctx, 0); err != nil && ctx.Err() != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.askErr != nil {
		return nil, c.askErr
	}
	var servers []*server.Server
	for _, r := range c.slots {
		if s := c.byAddr[r.addr].server; !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	return servers, nil
}

// outdated has the slots be asked for again.
func (c *cluster) outdated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = false
}

// nodeOf returns the primary of the shard that has a slot.
func (c *cluster) nodeOf(ctx context.Context, slot int) (*node, error) {
	c.mu.Lock()
	if !c.fresh {
		if c.asking == nil {
			c.asking = make(chan struct{})
			c.env.Running.Go(c.ask)
		}
		asking := c.asking
		c.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.askErr != nil {
		return nil, c.askErr
	}
	for _, r := range c.slots {
		if r.first <= slot && slot <= r.last {
			return c.byAddr[r.addr], nil
		}
	}
	c.fresh = false // nobody has it just now, as when its primary has failed
	return nil, fmt.Errorf("no shard of the cluster has slot %d", slot)
}

// ask asks for the slots, for all who need them.
func (c *cluster) ask() {
	shards, err := c.load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.slots, c.known = nil, nil
		for _, s := range shards {
			for i, member := range s.Nodes {
				if i == 0 {
					c.slots = append(c.slots, slotRange{s.Start, s.End, member.Addr})
				}
				if n := c.node(member.Addr); !slices.Contains(c.known, n) {
					c.known = append(c.known, n)
				}
			}
		}
		c.fresh = c.forgetOthers()
	}
	c.askErr = err
	close(c.asking)
	c.asking = nil
}

// node returns the node at an address. mu is held.
func (c *cluster) node(addr string) *node {
	if c.byAddr[addr] == nil {
		c.byAddr[addr] = c.newNode(addr)
	}
	return c.byAddr[addr]
}

// forgetOthers ends the nodes that have left the cluster, and reports whether all of these
// have ended: one that has locks yet, or those who wait for one, loses them first, or the
// cluster names it again. mu is held.
func (c *cluster) forgetOthers() (all bool) {
	all = true
	for addr, n := range c.byAddr {
		switch {
		case slices.Contains(c.known, n):
		case n.pool.InUse():
			all = false
		default:
			delete(c.byAddr, addr)
			c.env.Running.Go(n.end)
		}
	}
	return all
}

// newNode returns a node of the cluster. A connection of a client that reads from
// replicas (ReadOnly) must not do so: what a replica answers is proof of nothing.
func (c *cluster) newNode(addr string) *node {
	o, onConnect := *c.template, c.template.OnConnect
	o.Addr = addr
	o.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		if onConnect != nil {
			if err := onConnect(ctx, conn); err != nil {
				return err
			}
		}
		return conn.Do(ctx, "READWRITE").Err()
	}
	return newNode(&server.Server{Env: c.env, User: &o, Scheme: c.scheme, MayHave: func(sid string) bool {
		return c.has(addr, protocol.Slot(protocol.SessionChannel(sid)))
	}})
}

// has reports whether the node at an address has a slot, as far as is known.
func (c *cluster) has(addr string, slot int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.slots {
		if r.first <= slot && slot <= r.last {
			return r.addr == addr
		}
	}
	return false
}
