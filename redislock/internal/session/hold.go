package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// A hold is a lock that the session holds.
// In protocol.pml, too: a change here asks for one there.
type hold struct {
	member *member
	token  uint64
	last   uint64    // of the tokens that are reserved
	first  uint64    // of them
	won    time.Time // when that was
	until  time.Time // how long the lock may be passed on inside the process

	lost func(error) // guarded by session.mu
	gone error       // guarded by session.mu: why it alone is lost, if it is
}

var (
	_ locker.Watcher       = (*hold)(nil)
	_ locker.Checker       = (*hold)(nil)
	_ locker.Passer        = (*hold)(nil)
	_ locker.AsyncReleaser = (*hold)(nil)
)

// newHold returns the hold of what a claim has won.
func newHold(c *claim, w protocol.Won) *hold {
	now := time.Now()
	return &hold{member: c.member, token: w.Token, first: w.Token, last: w.Token + uint64(c.terms.reserve), won: now, until: now.Add(c.terms.renewal)} //nolint:gosec // reserve is small and positive
}

// Watch implements locker.Watcher.
func (h *hold) Watch(lost func(error)) {
	s := h.member.session
	s.mu.Lock()
	cause := s.cause
	if cause == nil {
		cause = h.gone
	}
	h.lost = lost
	s.mu.Unlock()
	if cause != nil {
		lost(cause)
	}
}

// lose marks h as lost, and returns whom to tell, if that is known. session.mu is held.
func (h *hold) lose(cause error) func(error) {
	h.gone = cause
	lost := h.lost
	h.lost = nil
	return lost
}

var errBroken = errors.New("it was taken away by Break")

// brokenBy takes the lock from its holder, if that is the one with a token from first to
// last, or one that it was passed on to, of which the holder key does not tell; and if it is
// not just being released. It returns what is to be done without session.mu, which is
// held: the holder is told, and then others can have the lock. To them, and in
// protocol.pml, that is a release.
func (m *member) brokenBy(first, last uint64) (leave func()) {
	h := m.hold
	if m.mayBeGiven() {
		m.attempt.Wake() // nobody holds it, perhaps: then this one does, when it has looked
	}
	if h == nil || m.work.busy || last < h.first || first > h.token {
		return nil
	}
	lost := h.lose(errBroken)
	end := m.beginWith()
	return func() {
		if lost != nil {
			lost(errBroken)
		}
		m.leaveChannel(false, func(error) { end() })
		m.session.conn.Resume()
	}
}

// beginLeaving marks the member as busy, as it is to leave the lock, until end is called;
// unless the lock alone was lost before, which it returns why: then it has left, or does.
func (h *hold) beginLeaving() (end func(), gone error) {
	h.member.session.mu.Lock()
	defer h.member.session.mu.Unlock()
	if h.gone != nil {
		return nil, h.gone
	}
	return h.member.beginWith(), nil
}

// Check implements locker.Checker: it compares the clock with the lease, so that a
// process that was frozen is told the truth by the first call after it; and knows
// that the session has ended before the last of its many locks is told.
func (h *hold) Check() error {
	s := h.member.session
	if s.expired() {
		s.end(errLeaseOver)
	}
	return s.ended()
}

// Pass implements locker.Passer: as long as nobody waits in another process, and
// for a bounded time, as a foreign waiter may not make itself known.
func (h *hold) Pass() (locker.Grant, bool) {
	s := h.member.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !h.mayGoOn(now) || !h.inTime(now) {
		return locker.Grant{}, false
	}
	h.lost = nil
	next := &hold{member: h.member, token: h.token + 1, last: h.last, first: h.first, won: h.won, until: h.until}
	h.member.hold = next
	return locker.Grant{Token: next.token, Hold: next}, true
}

// mayGoOn reports whether the lock may be held again by this process without another
// claim. session.mu is held.
func (h *hold) mayGoOn(now time.Time) bool {
	s, asked := h.member.session, h.member.asked
	return s.cause == nil && h.gone == nil && !s.expired() && !asked.told && asked.by == protocol.Ours && now.Before(h.until) && h.token < h.last
}

// inTime reports whether the next token does not overtake the clock of the server, which
// the next one has when the fence key is lost.
func (h *hold) inTime(now time.Time) bool {
	age := uint64(now.Sub(h.won).Microseconds()) //nolint:gosec // it is not negative
	return h.token-h.first < tokenBlock+age
}

// StartRelease implements locker.AsyncReleaser. It reads the answer itself if that
// comes at once.
func (h *hold) StartRelease(done func(error)) {
	end, gone := h.beginLeaving()
	if gone != nil {
		done(fmt.Errorf("%w: %w", locker.ErrLost, gone))
		return
	}
	s := h.member.session
	s.brief.Store(time.Since(h.won) < conn.RestTime)
	var answered atomic.Bool
	h.member.leaveChannel(false, func(err error) {
		defer answered.Store(true)
		end()
		if errors.Is(err, errEnded) {
			err = fmt.Errorf("%w: %w", locker.ErrLost, err)
		}
		done(err)
	})
	if s.fast {
		s.conn.Help(answered.Load)
	} else {
		s.conn.Resume()
	}
}

// Release implements locker.Hold.
func (h *hold) Release(ctx context.Context) error {
	released := make(chan error, 1)
	h.StartRelease(func(err error) { released <- err })
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renew renews the keys of the lock, if it is held, and reports whether it is.
func (m *member) renew(done func(string, error)) bool {
	s := m.session
	s.mu.Lock()
	h := m.hold
	s.mu.Unlock()
	if h == nil {
		return false
	}
	s.run(protocol.Renew{
		Channel: m.channel, SID: s.id, Token: h.token, Last: h.last, Run: s.dialed.RunID, About: s.about, Age: time.Since(h.won),
	}.In(s.server.Scheme), done)
	return true
}
