package redislock

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/server"
)

// Locker acquires locks in Redis.
type Locker struct {
	*locker.Base
}

var _ locker.Locker = (*Locker)(nil)

// New returns a Locker that keeps its locks in the Redis of client. It does not
// connect. It uses the client's options, for connections of its own, but for its hooks and
// its Limiter, and never closes the client. Where it has a StreamingCredentialsProvider, its
// connections authenticate again with new credentials; with RESP2 that is not possible, and
// a server that cuts a connection at the end of a token takes its locks. o may be nil; opts are the defaults of Acquire.
//
// A client that is nil, or of a type other than *redis.Client and
// *redis.ClusterClient, is refused with an error that matches locker.ErrInvalid, as
// are negative durations. (The nodes of a *redis.Ring know nothing of each other's
// locks.) So is a client of redis.NewFailoverClusterClient: use redis.NewFailoverClient. A
// client of redis.NewFailoverClient, and a *redis.ClusterClient, have to
// stay open as long as the Locker is used. Close may take as long as the client's
// DialTimeout if a connection is just being made.
func New(client redis.UniversalClient, o *Options, opts ...locker.Option) (*Locker, error) {
	var settings Options
	if o != nil {
		settings = *o
	}
	if err := settings.complete(); err != nil {
		return nil, err
	}
	d, err := driverFor(client, settings)
	if err != nil {
		return nil, err
	}
	l := &Locker{locker.NewBase(d, opts...)}
	d.env.Log = l.Logger()
	return l, nil
}

func driverFor(client redis.UniversalClient, o Options) (*driver, error) {
	switch c := client.(type) {
	case *redis.Client:
		if c != nil {
			return newDriver(o, func(e *server.Env) topology { return newSingle(e, c.Options()) }), nil
		}
	case *redis.ClusterClient:
		if c != nil && o.PortalockerNames {
			return nil, fmt.Errorf("redislock: %w Options.PortalockerNames: portalocker does not lock in a Cluster", locker.ErrInvalid)
		}
		if c != nil && isFailover(c) {
			return nil, fmt.Errorf("redislock: %w client: one of redis.NewFailoverClusterClient is not supported, as its servers are no Cluster; redis.NewFailoverClient returns one that is", locker.ErrInvalid)
		}
		if c != nil {
			return newDriver(o, func(e *server.Env) topology { return newCluster(e, c) }), nil
		}
	case nil:
	default:
		return nil, fmt.Errorf("redislock: %w client: a %T is not supported, only a *redis.Client or a *redis.ClusterClient is", locker.ErrInvalid, client)
	}
	return nil, fmt.Errorf("redislock: %w client: it is nil", locker.ErrInvalid)
}

// isFailover reports whether a client is one of NewFailoverClusterClient, which asks
// Sentinel for the slots. Nothing but the name of the function shows it.
func isFailover(c *redis.ClusterClient) bool {
	slots := reflect.ValueOf(c.Options().ClusterSlots)
	return !slots.IsNil() && strings.Contains(runtime.FuncForPC(slots.Pointer()).Name(), "NewFailoverClusterClient")
}
