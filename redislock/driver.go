package redislock

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// A driver makes attempts in the Redis of one client.
type driver struct {
	user    *redis.Options // the user's client's, as it has completed them
	moving  bool           // the user's dialer asks Sentinel which server is the primary
	options Options
	whoami  string
	log     *slog.Logger
	running sync.WaitGroup // all goroutines
	ctx     context.Context
	cancel  context.CancelFunc // ends what Close need not wait for

	cannotKill atomic.Bool // the server does not allow it

	mu       sync.Mutex
	session  *session            // guarded by mu: the latest
	opening  chan struct{}       // guarded by mu: closed when the session under way is open, or has failed
	openErr  error               // guarded by mu: how that went
	commands *redis.Client       // guarded by mu: for scripts that do not run on the session
	recent   map[string]struct{} // guarded by mu: names that were held lately; some, not all
	closed   bool                // guarded by mu
}

const (
	maxRecent  = 256
	maxCrowded = 256
	maxPongs   = 4096     // answers to pings on their way
	maxForeign = 64       // of them, those to pings that are not of this library
	expiry     = "604800" // seconds that a key is kept after its last use: 7 days
)

// failoverAddr is what go-redis calls the address of a client of NewFailoverClient.
const failoverAddr = "FailoverClient"

var errClosing = errors.New("closed")

func newDriver(user *redis.Options, o Options) *driver {
	d := &driver{user: user, moving: user.Addr == failoverAddr, options: o, whoami: whoami(), recent: make(map[string]struct{})}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Backend implements locker.Driver.
func (*driver) Backend() string { return "redis" }

// Try implements locker.Driver.
func (d *driver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	for {
		s, opened, err := d.open(ctx)
		if err != nil {
			return locker.Grant{}, err
		}
		g, err := s.try(ctx, a)
		if opened || !errors.Is(err, errSessionEnded) || ctx.Err() != nil {
			return g, err
		}
		// The connection had been cut before, unnoticed: this happens to an idle
		// one. Try on a new one.
	}
}

// Leave implements locker.Queue.
func (d *driver) Leave(ctx context.Context, name string) {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s != nil {
		s.leave(ctx, name)
	}
}

// open returns the session, and whether it was opened for this call.
func (d *driver) open(ctx context.Context) (s *session, opened bool, err error) {
	d.mu.Lock()
	if d.session != nil && d.session.ended() == nil {
		defer d.mu.Unlock()
		return d.session, false, nil
	}
	if d.opening == nil {
		d.opening = make(chan struct{})
		d.running.Go(d.openNew)
	}
	opening := d.opening
	d.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session, true, d.openErr
}

// openNew opens a session for all who wait for one.
func (d *driver) openNew() {
	// No caller's ctx: one that ends would end it for all. dial bounds it.
	s, err := openSession(d.ctx, d)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.closed {
		s.end(errClosing)
	}
	d.session, d.openErr = s, err
	close(d.opening)
	d.opening = nil
}

// client returns the client for commands that do not go by the session: a small
// one of our own, which the user's own commands cannot keep waiting.
func (d *driver) client() *redis.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.commands == nil {
		d.commands = redis.NewClient(d.ownOptions())
	}
	return d.commands
}

// ownOptions returns the options of a client of our own.
func (d *driver) ownOptions() *redis.Options {
	o := cloneOptions(d.user)
	o.MaxRetries, o.DialerRetries = -1, 1 // Base tries again
	if d.moving {
		o.ConnMaxLifetime = d.options.UnavailableTimeout // go-redis closes those to a former primary for the user's client only
	}
	return o
}

// held remembers that a lock was held, for Close.
func (d *driver) held(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.recent[name]; !ok && len(d.recent) >= maxRecent {
		for other := range d.recent {
			delete(d.recent, other)
			break
		}
	}
	d.recent[name] = struct{}{}
}

// Close implements locker.Driver. Nobody is to wait for this process to hear that
// it has lost what it gave back: it deletes its hints first.
func (d *driver) Close() error {
	d.mu.Lock()
	d.closed = true
	s := d.session
	d.mu.Unlock()
	if s != nil && s.ended() == nil {
		d.forget(s)
		s.end(errClosing)
	}
	d.cancel()
	d.running.Wait()
	if d.commands != nil {
		return d.commands.Close()
	}
	return nil
}

// forget deletes the hints that name the session, for as long as that is quick.
func (d *driver) forget(s *session) {
	ctx, cancel := context.WithTimeout(context.Background(), d.options.UnavailableTimeout)
	defer cancel()
	answers := make(chan answer, len(d.recent))
	for name := range d.recent {
		s.run(nil, forgetScript, []string{name + "-holder"}, []string{s.id}, answerTo(answers))
	}
	for range d.recent {
		if _, err := s.await(ctx, answers); err != nil {
			return
		}
	}
}

func countOf(words []string) string { return strconv.Itoa(len(words)) }

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
