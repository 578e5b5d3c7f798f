package session

import (
	"context"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// A member is a session's part in one lock: it claims it, holds it or waits for
// it. One goroutine at a time works on it, which Base sees to, and what a Try
// that was cut short has left to do.
// In protocol.pml, too: a change here asks for one there.
type member struct {
	session     *session
	name        string
	channel     string // of the lock
	holdChannel string
	waitChannel string

	// Guarded by session.mu.
	phase   phase
	attempt *locker.Attempt // to wake who waits
	work    work
	place   place
	claim   *claim // while it claims the lock, or stands by, until it has left; else nil
	hold    *hold  // while it holds the lock, else nil
	asked   asked
	suspect suspicion // those who keep one who waits from the lock
}

// A phase is what a session has to do with the channel of a lock. Whether it waits besides
// is said by its place.
//
//	idle      it is not on the channel: it waits there, polls, or has no part in the lock
//	claiming  it has subscribed to the channel, or is about to; whether it is alone, the claim says
//	standing  the claim has met the holder, and the session stays: it stands by
//	held      it holds the lock
//	leaving   it has unsubscribed, or is about to; until that is confirmed
//
// From one it comes to another so:
//
//	idle     -> claiming  a claim begins                             (claim.go)
//	claiming -> held      it has won, or was given the lock          (attempt.go)
//	claiming -> standing  it is the first in the queue               (claim.go)
//	claiming -> leaving   it has met others, or failed               (leave.go)
//	standing -> claiming  the lock looks free: it claims it again    (claim.go)
//	standing -> held      the holder has given it the lock           (attempt.go)
//	standing -> leaving   it is the first no more, or gives up       (leave.go)
//	held     -> leaving   it is released, or broken                  (leave.go)
//	leaving  -> idle      that is confirmed                          (leave.go)
//	standing, held -> idle  its slot has moved, which ends both      (session.go)
//	idle     -> leaving   it has moved while one that stood by looked, and steps back
//
// The end of the session ends all of them. protocol.pml has the same words.
type phase int

const (
	idle phase = iota
	claiming
	standing
	held
	leaving
)

// mayBecome reports whether next may come after p.
func (p phase) mayBecome(next phase) bool {
	switch p {
	case idle:
		return next == claiming || next == leaving
	case claiming:
		return next == held || next == standing || next == leaving
	case standing:
		return next == claiming || next == held || next == leaving || next == idle
	case held:
		return next == leaving || next == idle
	default:
		return next == idle
	}
}

// enter has m come to the next phase. session.mu is held.
func (m *member) enter(next phase) {
	if from := m.phase; !from.mayBecome(next) { // a fault of ours: better no lock than two holders
		m.session.env.Running.Go(func() { m.session.end(errPhase{from, next}) })
	}
	m.phase = next
}

// An errPhase is a transition that does not exist.
type errPhase struct{ from, to phase }

func (e errPhase) Error() string {
	return "a lock went from phase " + e.from.String() + " to " + e.to.String()
}

func (p phase) String() string {
	return [...]string{"idle", "claiming", "standing", "held", "leaving"}[p]
}

// A work is what is under way on the wire for a member.
type work struct {
	busy bool
	over chan struct{} // closed when it has ended; nil: nobody waits for that
}

// A place is one in the queue.
type place struct {
	queued bool          // as far as known
	waits  bool          // the session is subscribed to the wait channel
	woken  bool          // by the one who left the lock
	every  time.Duration // how often it looks: its check interval
	near   *time.Timer   // has one look who came to the front; nil: never yet
}

// An asked is who else wants the lock of a member that claims or holds it.
type asked struct {
	told    bool                // others wait
	by      protocol.Generation // of portalocker's: the last, if several have
	standby time.Time           // when one of these has asked the session while it stood by
}

// newMember returns a part in a lock that is new.
func newMember(s *session, name, channel string) *member {
	m := &member{session: s, name: name, channel: channel}
	m.holdChannel, m.waitChannel = protocol.HoldAndWait(channel, s.id)
	return m
}

// idleMember returns the session's part in a lock when nothing is under way on it: a new one
// for an attempt. a may be nil: then it returns nil where there is none. If there is no
// error, mu is held.
func (s *session) idleMember(ctx context.Context, a *locker.Attempt, channel string) (*member, error) {
	for {
		s.mu.Lock()
		if s.cause != nil {
			s.mu.Unlock()
			return nil, s.cause
		}
		m := s.members[channel]
		if m == nil && a != nil {
			m = newMember(s, a.Name, channel)
			s.members[channel] = m
		}
		if m == nil || !m.work.busy {
			return m, nil
		}
		if m.work.over == nil {
			m.work.over = make(chan struct{})
		}
		over := m.work.over
		s.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin marks m as busy, until the function that it returns is called.
func (m *member) begin() (end func()) {
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	return m.beginWith()
}

// beginWith is begin. session.mu is held.
func (m *member) beginWith() (end func()) {
	m.work.busy = true
	return func() {
		m.session.mu.Lock()
		defer m.session.mu.Unlock()
		m.work.busy = false
		m.forget()
		if m.work.over != nil {
			close(m.work.over)
			m.work.over = nil
		}
	}
}

// dropUnused forgets m after an attempt that has left nothing behind.
func (m *member) dropUnused() {
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	if !m.work.busy {
		m.forget()
	}
}

// forget forgets m unless it waits. session.mu is held.
func (m *member) forget() {
	if !m.place.queued && !m.place.waits && m.session.members[m.channel] == m {
		delete(m.session.members, m.channel)
	}
}

// wake has the one who waits make another attempt, and claim the lock. session.mu is held.
func (m *member) wake() {
	m.place.woken = true
	m.attempt.Wake()
}

// comeNear has the one who waits look within the check interval: a message says
// that it has come to the front of the queue. session.mu is held.
func (m *member) comeNear() {
	soon := m.place.every * 9 / 10
	if m.place.near != nil {
		m.place.near.Reset(soon)
		return
	}
	m.place.near = time.AfterFunc(soon, func() {
		m.session.mu.Lock()
		defer m.session.mu.Unlock()
		if m.place.queued {
			m.attempt.Wake()
		}
	})
}

// leaveQueue takes in that m waits no more. session.mu is held.
func (m *member) leaveQueue() {
	m.place.queued = false
	if m.place.near != nil {
		m.place.near.Stop()
	}
}
