package redislock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// A driver makes attempts, in the Redis of one client.
type driver struct {
	options    Options
	whoami     string
	settleTime string // for claim.lua, as settleLong
	settleLong string
	log        *slog.Logger
	running    sync.WaitGroup // all goroutines
	ctx        context.Context
	cancel     context.CancelFunc // ends what Close need not wait for
	late       *time.Timer        // when that is to end while Close waits; set when it begins
	ended      sync.Once

	cannotKill atomic.Int64 // until when the server is not asked to, in nanoseconds of Unix time, as it does not allow it; 0: it may

	only    *node    // the one node; nil in a Cluster
	cluster *cluster // nil elsewhere
}

var errClosing = errors.New("closed")

var _ locker.Ender = (*driver)(nil)

func newDriver(o Options) *driver {
	d := &driver{options: o, whoami: whoami(), settleTime: microseconds(o.SettleTime), settleLong: microseconds(o.lease())}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

func newSingle(user *redis.Options, o Options) *driver {
	d := newDriver(o)
	d.only = newNode(d, user)
	return d
}

// Backend implements locker.Driver.
func (*driver) Backend() string { return "redis" }

// Try implements locker.Driver.
func (d *driver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	if d.cluster != nil {
		return d.cluster.try(ctx, a)
	}
	return d.only.try(ctx, a)
}

// Leave implements locker.Queue.
func (d *driver) Leave(ctx context.Context, name string) {
	for _, n := range d.nodes() {
		n.leave(ctx, name)
	}
}

// closeTime is how long a server may take to answer when Close has begun. When the sessions
// end, it frees what they have all the same.
const closeTime = 300 * time.Millisecond

// End implements locker.Ender.
func (d *driver) End() { d.late = time.AfterFunc(closeTime, d.end) }

// Close implements locker.Driver.
func (d *driver) Close() error {
	if d.late != nil {
		d.late.Stop()
	}
	d.end()
	d.running.Wait()
	return nil
}

// end ends the sessions, and what goes by the clients.
func (d *driver) end() {
	d.ended.Do(func() {
		var ending sync.WaitGroup
		for _, n := range d.nodes() {
			ending.Go(n.end)
		}
		ending.Wait()
		d.cancel()
	})
}

// primaries returns the nodes that have locks.
func (d *driver) primaries(ctx context.Context) ([]*node, error) {
	if d.cluster != nil {
		return d.cluster.primaries(ctx)
	}
	return []*node{d.only}, nil
}

// nodes returns all nodes that are known.
func (d *driver) nodes() []*node {
	if d.cluster != nil {
		return d.cluster.used()
	}
	return []*node{d.only}
}
