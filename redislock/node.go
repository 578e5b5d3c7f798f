package redislock

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
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
	links    map[string]*link // guarded by mu: by the channel of the lock, with PortalockerNames; else the one of all locks, by ""
	commands *redis.Client    // guarded by mu: for scripts that do not run on the session
	ending   bool             // guarded by mu: no session begins
	closed   bool             // guarded by mu: and no command goes by the client
	stale    atomic.Bool      // the next command goes by another client
}

// A link is a session and what comes after it. The fields are guarded by node.mu.
type link struct {
	session *session      // the latest
	opening chan struct{} // closed when the session under way is open, or has failed
	openErr error         // how that went
}

const (
	maxRecent  = 256
	maxCrowded = 256
	maxPongs   = 4096 // answers to pings on their way
	maxForeign = 64   // of them, those to pings that are not of this library
)

// failoverAddr is what go-redis calls the address of a client of NewFailoverClient.
const failoverAddr = "FailoverClient"

func newNode(d *driver, user *redis.Options) *node {
	return &node{driver: d, user: user, moving: user.Addr == failoverAddr, links: make(map[string]*link)}
}

// try makes one attempt.
func (n *node) try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	for {
		s, opened, err := n.open(ctx, n.channelOf(a.Name))
		if err != nil {
			return locker.Grant{}, err
		}
		g, err := s.try(ctx, a)
		if opened || !errors.Is(err, errSessionEnded) && !isDemotion(err) || ctx.Err() != nil {
			return g, err
		}
		// The connection had been cut before, unnoticed, or its server demoted: this
		// happens to an idle one. Try on a new one.
	}
}

// channelOf returns the channel of a lock.
func (n *node) channelOf(name string) string {
	if n.shard != nil {
		return clusterChannel(name)
	}
	return name
}

// linkOf returns by what the link of a lock is known.
func (n *node) linkOf(channel string) string {
	if n.options.PortalockerNames {
		return channel
	}
	return ""
}

// current returns the session that a lock would be on, or nil.
func (n *node) current(channel string) *session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[n.linkOf(channel)]; l != nil && l.session != nil && l.session.ended() == nil {
		return l.session
	}
	return nil
}

// leave gives up the place in the queue of a lock, if there is one.
func (n *node) leave(ctx context.Context, name string) {
	if s := n.current(n.channelOf(name)); s != nil {
		s.leave(ctx, name)
	}
}

// open returns the session for a lock, and whether it was opened for this call.
func (n *node) open(ctx context.Context, channel string) (s *session, opened bool, err error) {
	key := n.linkOf(channel)
	n.mu.Lock()
	l := n.links[key]
	if l == nil {
		l = &link{}
		n.links[key] = l
	}
	if l.session != nil && l.session.ended() == nil {
		defer n.mu.Unlock()
		return l.session, false, nil
	}
	if l.opening == nil {
		l.opening = make(chan struct{})
		n.running.Go(func() { n.openNew(l, key) })
	}
	opening := l.opening
	n.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.session, true, l.openErr
}

// inUse reports whether a session has, or is about to have, a part in a lock.
func (n *node) inUse() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if l.opening != nil || l.session != nil && l.session.inUse() {
			return true
		}
	}
	return false
}

// openNew opens a session for all who wait for one.
func (n *node) openNew(l *link, key string) {
	// No caller's ctx: one that ends would end it for all. dial bounds it.
	s, err := openSession(n.ctx, n, key)
	n.mu.Lock()
	l.session, l.openErr = s, plainly(err)
	close(l.opening)
	l.opening = nil
	if s == nil {
		delete(n.links, key)
	}
	ending := n.ending
	n.mu.Unlock()
	if s != nil && ending {
		s.end(errClosing)
	}
}

// unlink forgets a session that has ended.
func (n *node) unlink(s *session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[s.link]; l != nil && l.session == s && l.opening == nil {
		delete(n.links, s.link)
	}
}

// client returns the client for commands that do not go by the session: a small
// one of our own, which the user's own commands cannot keep waiting. It is another one
// when the address may lead to another server than before.
func (n *node) client() *redis.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stale.Swap(false) && n.commands != nil && !n.closed {
		old := n.commands
		n.running.Go(func() { _ = old.Close() }) // of its connections, each has failed or will
		n.commands = nil
	}
	if n.commands == nil {
		n.commands = redis.NewClient(n.ownOptions())
		n.commands.AddHook(subcommandNamer{})
		if n.closed {
			_ = n.commands.Close() // no more goes by it
		}
	}
	return n.commands
}

// lostTouch takes in why a session has ended: the client goes by new connections if its
// server is not, or may not be, the one that the address leads to.
func (n *node) lostTouch(cause error) {
	for _, moved := range []error{errMoved, errDemoted, errLeaseOver, errSilent, errProtocol} {
		if errors.Is(cause, moved) {
			n.stale.Store(true)
		}
	}
}

// atPrimary calls fn, and again by a new connection where the server was demoted that the
// one before leads to.
func (n *node) atPrimary(fn func() error) error {
	err := fn()
	if isDemotion(err) {
		n.stale.Store(true)
		err = fn()
	}
	return err
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

// end ends the sessions, and what goes by the client. Nobody is to wait for this process to
// hear that it has lost what it gave back: it deletes its hints first.
// In protocol.pml, too: a change here asks for one there.
func (n *node) end() {
	n.mu.Lock()
	n.ending = true
	var live []*session
	for _, l := range n.links {
		if l.session != nil {
			live = append(live, l.session)
		}
	}
	n.mu.Unlock()
	var ending sync.WaitGroup
	for _, s := range live {
		ending.Go(func() {
			s.forget()
			s.end(errClosing)
		})
	}
	ending.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.commands != nil {
		_ = n.commands.Close() // which ends what is under way
	}
}

func countOf(words []string) string { return strconv.Itoa(len(words)) }

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
