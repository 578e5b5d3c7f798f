package redislock

import (
	"context"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/server"
	"github.com/golocker/locker/redislock/internal/session"
)

// A driver makes attempts, in the Redis of one client.
type driver struct {
	env      *server.Env
	topology topology
	late     *time.Timer // when the sessions are to end while Close waits; set when it begins
	ended    sync.Once
}

// A topology is which servers have the locks.
type topology interface {
	// try makes one attempt, at the server that has the lock.
	try(ctx context.Context, a *locker.Attempt) (locker.Grant, error)
	// at calls fn with the server that has a lock.
	at(ctx context.Context, name string, fn func(*server.Server) error) error
	// primaries returns the servers that have locks.
	primaries(ctx context.Context) ([]*server.Server, error)
	// nodes returns all servers that are known, with their sessions.
	nodes() []*node
}

// A node is a server and its sessions.
type node struct {
	server *server.Server
	pool   *session.Pool
}

func newNode(s *server.Server) *node { return &node{s, session.NewPool(s)} }

// end ends the sessions, and then what goes by the client.
func (n *node) end() {
	n.pool.End()
	n.server.Close()
}

var _ locker.Ender = (*driver)(nil)

// newDriver returns a driver whose env has no logger yet.
func newDriver(o Options, of func(*server.Env) topology) *driver {
	env := server.NewEnv(server.Options(o))
	return &driver{env: env, topology: of(env)}
}

// Backend implements locker.Driver.
func (*driver) Backend() string { return "redis" }

// Try implements locker.Driver.
func (d *driver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	return d.topology.try(ctx, a)
}

// Leave implements locker.Queue.
func (d *driver) Leave(ctx context.Context, name string) {
	for _, n := range d.topology.nodes() {
		n.pool.Leave(ctx, name)
	}
}

// End implements locker.Ender.
func (d *driver) End() { d.late = time.AfterFunc(session.CloseTime, d.end) }

// Close implements locker.Driver.
func (d *driver) Close() error {
	if d.late != nil {
		d.late.Stop()
	}
	d.end()
	d.env.Running.Wait()
	return nil
}

// end ends the sessions, and what goes by the clients.
func (d *driver) end() {
	d.ended.Do(func() {
		var ending sync.WaitGroup
		for _, n := range d.topology.nodes() {
			ending.Go(n.end)
		}
		ending.Wait()
		d.env.Cancel()
	})
}
