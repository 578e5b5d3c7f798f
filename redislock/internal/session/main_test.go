package session

import (
	"testing"
	"time"

	"context"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
)

func TestMain(m *testing.M) {
	redistest.Parallel(6)
	goleak.VerifyTestMain(m)
}

// A driver is a Pool as a locker.Driver.
type driver struct {
	*Pool
	env *server.Env
}

func (*driver) Backend() string { return "redis" }

func (d *driver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	return d.Pool.Try(ctx, a)
}

func (d *driver) Close() error {
	d.End()
	d.server.Close()
	d.env.Cancel()
	d.env.Running.Wait()
	return nil
}

// openWith returns a Locker on the server of a client with options, and its pool.
func openWith(t *testing.T, user *redis.Options, o server.Options, opts ...locker.Option) (*locker.Base, *driver) {
	t.Helper()
	return openOn(t, &server.Server{Env: server.NewEnv(o), User: user, Scheme: protocol.Scheme{Counter: o.PortalockerNames}}, opts...)
}

// openOn returns a Locker on a server.
func openOn(t *testing.T, s *server.Server, opts ...locker.Option) (*locker.Base, *driver) {
	t.Helper()
	d := &driver{NewPool(s), s.Env}
	l := locker.NewBase(d, opts...)
	s.Env.Log = l.Logger()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, d
}

var calm = server.Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute}

// session returns the session that a lock would be on.
func (d *driver) session(t *testing.T, name string) *session {
	t.Helper()
	s := d.current(name)
	if s == nil {
		t.Fatal("there is no session")
	}
	return s
}
