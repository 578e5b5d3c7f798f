package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// CloseTime is how long a server may take to answer when the Locker is closed. When the
// sessions end, it frees what they have all the same.
const CloseTime = 300 * time.Millisecond

// A Pool is the sessions of a server: one for all locks, or, with PortalockerNames, one for
// each.
type Pool struct {
	server *server.Server

	mu      sync.Mutex
	links   map[string]*link // guarded by mu: by the channel of the lock, with PortalockerNames; else the one of all locks, by ""
	ending  bool             // guarded by mu: no session begins
	failure failure          // guarded by mu: since the latest session was opened
}

// A link is a session and what comes after it. The fields are guarded by Pool.mu.
type link struct {
	session *session      // the latest
	opening chan struct{} // closed when the session under way is open, or has failed
	openErr error         // how that went
}

// A failure is that sessions cannot be opened.
type failure struct {
	count int       // how many could not, one after the other
	again time.Time // when those who wait try again
}

// shortestFailure is how long the second failure takes at least, and each after it: it is that
// of all who come meanwhile, of the thousand locks that were lost together, say.
const shortestFailure = 10 * time.Millisecond

// longestPause is how long those who wait leave a server alone that cannot be reached, at
// most, unless their check interval is longer. A fleet of a thousand, which would dial it
// 4,000 times a second at the default interval, does so 1,300 times when it comes up.
const longestPause = time.Second

// NewPool returns a Pool without sessions.
func NewPool(s *server.Server) *Pool {
	return &Pool{server: s, links: make(map[string]*link)}
}

// Try makes one attempt.
func (p *Pool) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	channel := p.server.Scheme.Channel(a.Name)
	for {
		s, opened, err := p.open(ctx, channel)
		if err != nil {
			a.RetryAfter = p.pause(a.CheckInterval)
			return locker.Grant{}, err
		}
		g, err := s.try(ctx, a, channel)
		if opened || !errors.Is(err, errEnded) && !resp.IsDemotion(err) || ctx.Err() != nil {
			return g, err
		}
		// The connection had been cut before, unnoticed, or its server demoted: this
		// happens to an idle one. Try on a new one.
	}
}

// Leave gives up the place in the queue of a lock, if there is one.
func (p *Pool) Leave(ctx context.Context, name string) {
	channel := p.server.Scheme.Channel(name)
	if s := p.current(channel); s != nil {
		s.leave(ctx, channel)
	}
}

// keyOf returns by what the link of a lock is known.
func (p *Pool) keyOf(channel string) string {
	if p.server.Env.Options.PortalockerNames {
		return channel
	}
	return ""
}

// current returns the session that a lock would be on, or nil.
func (p *Pool) current(channel string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[p.keyOf(channel)]; l != nil && l.session != nil && l.session.ended() == nil {
		return l.session
	}
	return nil
}

// open returns the session for a lock, and whether it was opened for this call.
func (p *Pool) open(ctx context.Context, channel string) (s *session, opened bool, err error) {
	key := p.keyOf(channel)
	p.mu.Lock()
	l := p.links[key]
	if l == nil {
		l = &link{}
		p.links[key] = l
	}
	if l.session != nil && l.session.ended() == nil {
		defer p.mu.Unlock()
		return l.session, false, nil
	}
	if l.opening == nil {
		l.opening = make(chan struct{})
		p.server.Env.Running.Go(func() { p.openNew(l, key) })
	}
	opening := l.opening
	p.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.session, true, l.openErr
}

// pause returns how long one who waits is to wait before it tries again, after sessions could
// not be opened: those of one process come back in one moment, and dial once, those of
// several do not.
func (p *Pool) pause(interval time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, now := &p.failure, time.Now()
	if !now.Before(f.again) {
		grown, longest := interval, max(interval, longestPause)
		for n := 1; n < f.count && grown < longest; n++ {
			grown = min(2*grown, longest)
		}
		f.again = now.Add(grown/2 + rand.N(grown/2+1)) //nolint:gosec // spreads load
	}
	return f.again.Sub(now)
}

// openNew opens a session for all who wait for one.
func (p *Pool) openNew(l *link, key string) {
	// No caller's ctx: one that ends would end it for all. Dial bounds it.
	began := time.Now()
	s, err := open(p.server.Env.Ctx, p.server, key, p.unlink)
	if err != nil && p.hasFailed() {
		select {
		case <-time.After(shortestFailure - time.Since(began)):
		case <-p.server.Env.Ctx.Done():
		}
	}
	p.mu.Lock()
	l.session, l.openErr = s, resp.Plainly(err)
	close(l.opening)
	l.opening = nil
	if s == nil {
		delete(p.links, key)
		p.failure.count++
	} else {
		p.failure = failure{}
	}
	ending := p.ending
	p.mu.Unlock()
	if s != nil && ending {
		s.end(errClosing)
	}
}

// hasFailed reports whether the latest session could not be opened.
func (p *Pool) hasFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure.count > 0
}

// unlink forgets a session that has ended.
func (p *Pool) unlink(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.links[s.link]; l != nil && l.session == s && l.opening == nil {
		delete(p.links, s.link)
	}
}

// InUse reports whether a session has, or is about to have, a part in a lock.
func (p *Pool) InUse() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.opening != nil || l.session != nil && l.session.inUse() {
			return true
		}
	}
	return false
}

// End ends the sessions. Nobody is to wait for this process to hear that it has lost what
// it gave back: it deletes its hints first.
// In protocol.pml, too: a change here asks for one there.
func (p *Pool) End() {
	p.mu.Lock()
	p.ending = true
	var live []*session
	for _, l := range p.links {
		if l.session != nil {
			live = append(live, l.session)
		}
	}
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, s := range live {
		ending.Go(func() {
			s.forget()
			s.end(errClosing)
		})
	}
	ending.Wait()
}
