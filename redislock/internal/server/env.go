// Package server asks a Redis server what does not go by the connection of a session: it
// runs scripts, publishes, counts subscribers and cuts connections, by a client of its own.
package server

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// Options are those of redislock, completed.
type Options struct {
	UnavailableTimeout  time.Duration
	SettleTime          time.Duration
	HealthCheckInterval time.Duration
	PortalockerNames    bool
}

// Lease is how long a holder may go on after its server was lost to it.
func (o *Options) Lease() time.Duration { return o.UnavailableTimeout * 3 / 4 }

// An Env is what all servers and sessions of a Locker share.
type Env struct {
	Options Options
	Log     *slog.Logger    // set before anything else happens
	Running sync.WaitGroup  // all goroutines
	Ctx     context.Context // ended by Cancel

	cancel  context.CancelFunc
	host    string
	killing permission
}

// NewEnv returns an Env without a logger.
func NewEnv(o Options) *Env {
	e := &Env{Options: o}
	e.host, _ = os.Hostname() // "" is unknown
	e.Ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Cancel ends Ctx, and with it what goes by the clients and need not be waited for.
func (e *Env) Cancel() { e.cancel() }

// About is what hints say of a session of this process.
func (e *Env) About(clientID string) protocol.About {
	return protocol.NewAbout(clientID, e.Options.UnavailableTimeout, os.Getpid(), e.host)
}

// A permission is whether connections may be found and cut, as far as is known.
type permission struct {
	deniedUntil atomic.Int64 // nobody tries before: nanoseconds of Unix time; 0: it is not denied
}

// askAgain is how long nobody tries to find or cut connections where the server has not
// allowed it: the permission may be granted.
const askAgain = time.Minute

// MayKill reports whether connections can be cut, as far as is known.
func (e *Env) MayKill() bool {
	until := e.killing.deniedUntil.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// TriedToKill takes in how a command has ended that finds or cuts connections. That the
// server does not allow it is said once.
func (e *Env) TriedToKill(err error) {
	switch {
	case err == nil:
		e.killing.deniedUntil.Store(0)
	case resp.Code(err) == "NOPERM" || dial.UnlessUnknown(err) == nil:
		if e.killing.deniedUntil.Swap(time.Now().Add(askAgain).UnixNano()) == 0 {
			e.Log.Warn("a holder that hangs cannot be disconnected: it will keep its lock", "error", resp.Plainly(err))
		}
	}
}

// Within returns what fn does, or when ctx ends: go-redis heeds no more of ctx than its
// deadline, if that. What fn has begun ends within the time limits of the client.
func Within[T any](ctx context.Context, e *Env, fn func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	ended := make(chan outcome, 1)
	e.Running.Go(func() {
		value, err := fn()
		ended <- outcome{value, err}
	})
	select {
	case o := <-ended:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
