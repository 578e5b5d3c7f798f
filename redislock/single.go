package redislock

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
)

// A single is one server, or whichever one Sentinel says is the primary: it has all locks.
type single struct{ node *node }

// failoverAddr is what go-redis calls the address of a client of NewFailoverClient.
const failoverAddr = "FailoverClient"

func newSingle(e *server.Env, user *redis.Options) *single {
	return &single{newNode(&server.Server{
		Env: e, User: user, Moving: user.Addr == failoverAddr, Scheme: protocol.Scheme{Counter: e.Options.PortalockerNames},
	})}
}

func (s *single) try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	return s.node.pool.Try(ctx, a)
}

func (s *single) at(_ context.Context, _ string, fn func(*server.Server) error) error {
	return fn(s.node.server)
}

func (s *single) primaries(context.Context) ([]*server.Server, error) {
	return []*server.Server{s.node.server}, nil
}

func (s *single) nodes() []*node { return []*node{s.node} }
