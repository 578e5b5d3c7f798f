package redislock

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// A node is one server, or whichever one Sentinel says is the primary.
type node struct {
	*driver
	user   *redis.Options // the user's client's, as it has completed them
	moving bool           // the user's dialer asks Sentinel which server is the primary
	shard  *cluster       // of which it is one primary; nil: of none

	mu       sync.Mutex
	session  *session            // guarded by mu: the latest
	opening  chan struct{}       // guarded by mu: closed when the session under way is open, or has failed
	openErr  error               // guarded by mu: how that went
	commands *redis.Client       // guarded by mu: for scripts that do not run on the session
	recent   map[string]struct{} // guarded by mu: channels of locks that were held lately; some, not all
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

func newNode(d *driver, user *redis.Options) *node {
	return &node{driver: d, user: user, moving: user.Addr == failoverAddr, recent: make(map[string]struct{})}
}

// try makes one attempt.
func (n *node) try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	for {
		s, opened, err := n.open(ctx)
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

// channelOf returns the channel of a lock.
func (n *node) channelOf(name string) string {
	if n.shard != nil {
		return clusterChannel(name)
	}
	return name
}

// current returns the latest session, if it has not ended.
func (n *node) current() *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil || n.session.ended() != nil {
		return nil
	}
	return n.session
}

// open returns the session, and whether it was opened for this call.
func (n *node) open(ctx context.Context) (s *session, opened bool, err error) {
	n.mu.Lock()
	if n.session != nil && n.session.ended() == nil {
		defer n.mu.Unlock()
		return n.session, false, nil
	}
	if n.opening == nil {
		n.opening = make(chan struct{})
		n.running.Go(n.openNew)
	}
	opening := n.opening
	n.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.session, true, n.openErr
}

// openNew opens a session for all who wait for one.
func (n *node) openNew() {
	// No caller's ctx: one that ends would end it for all. dial bounds it.
	s, err := openSession(n.ctx, n)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.closed {
		s.end(errClosing)
	}
	n.session, n.openErr = s, withoutArguments(err)
	close(n.opening)
	n.opening = nil
}

// client returns the client for commands that do not go by the session: a small
// one of our own, which the user's own commands cannot keep waiting.
func (n *node) client() *redis.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.commands == nil {
		n.commands = redis.NewClient(n.ownOptions())
	}
	return n.commands
}

// ownOptions returns the options of a client of our own.
func (n *node) ownOptions() *redis.Options {
	o := cloneOptions(n.user)
	o.MaxRetries, o.DialerRetries = -1, 1 // Base tries again
	if n.moving {
		o.ConnMaxLifetime = n.options.UnavailableTimeout // go-redis closes those to a former primary for the user's client only
	}
	return o
}

// held remembers that the lock of a channel was held, for Close.
func (n *node) held(channel string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.recent[channel]; !ok && len(n.recent) >= maxRecent {
		for other := range n.recent {
			delete(n.recent, other)
			break
		}
	}
	n.recent[channel] = struct{}{}
}

// end ends the session. Nobody is to wait for this process to hear that it has lost
// what it gave back: it deletes its hints first.
// In protocol.pml, too: a change here asks for one there.
func (n *node) end() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	if s := n.current(); s != nil {
		n.forget(s)
		s.end(errClosing)
	}
}

// close frees what the node uses, when it has ended and nothing is under way.
func (n *node) close() error {
	if n.commands == nil {
		return nil
	}
	return n.commands.Close()
}

// forget deletes the hints that name the session, for as long as that is quick.
func (n *node) forget(s *session) {
	ctx, cancel := context.WithTimeout(context.Background(), n.options.UnavailableTimeout)
	defer cancel()
	answers := make(chan answer, len(n.recent))
	for channel := range n.recent {
		s.run(nil, forgetScript, []string{channel + "-holder"}, []string{s.id}, answerTo(answers))
	}
	for range n.recent {
		if _, err := s.await(ctx, answers); err != nil {
			return
		}
	}
}

func countOf(words []string) string { return strconv.Itoa(len(words)) }

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
