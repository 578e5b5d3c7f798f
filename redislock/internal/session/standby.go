package session

import (
	"context"
	"errors"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// The first in the queue stands by: it has claimed the lock while another holds it, and
// stays on the lock's channel. When the holder leaves, the script that tells those who
// wait finds the one that stands by alone there, and gives it the lock (give, in
// common.lua); a message says so. A hand-off is two messages then, from the holder to the
// server and on from there, instead of the four of a wake-up and a claim.
//
// Nothing else about it is new. To others, one that stands by is one whose claim takes
// long: nobody else can be alone on the channel, it answers pings, and if it hangs it is
// found by them. A message that gives it the lock may be old when it is read, as the
// process was frozen. So the lease runs from the latest time that the session has asked
// the server something for this lock and was answered; or from a heartbeat, if that is
// long ago.
//
// It leaves the channel when it is not the first any more, and when one of portalocker's
// processes asks for the lock, which has to find the channel empty when it is left to it.

// foreignTime is how long a session does not stand by after a ping of portalocker's.
const foreignTime = time.Second

// mayStandBy reports whether a claim may lead to standing by. session.mu is held.
func (m *member) mayStandBy() bool {
	return m.session.fast && time.Since(m.asked.standby) >= foreignTime
}

// mayBeGiven reports whether the lock may be given to m: it stands by, or does so until its
// claim is answered. session.mu is held.
func (m *member) mayBeGiven() bool {
	return m.phase == standing || m.phase == claiming && m.claim.gift.mayCome
}

// isNext takes in that m has become the first in the queue. session.mu is held.
func (m *member) isNext() {
	switch {
	case m.mayBeGiven() || !m.place.queued && m.claim == nil:
	case m.mayStandBy():
		m.wake()
	default:
		m.comeNear()
	}
}

// isGiven takes in that the server has given the lock to m. session.mu is held.
func (m *member) isGiven(w protocol.Won) {
	switch {
	case m.hold != nil:
	case !m.mayBeGiven(): // it leaves the channel
		m.passesOn()
	default:
		m.claim.gift.won, m.claim.granted = &w, true
		m.asked.told, m.asked.by = false, protocol.Ours // of this hold
		m.attempt.Wake()
	}
}

// passesOn has m pass the lock on that it was given, when it leaves the channel: it has
// no place in the queue any more. If it waits, it claims the lock again then.
// session.mu is held.
func (m *member) passesOn() {
	m.asked.told = true
	m.wake()
}

// fromStandby is what an attempt does for one that stands by: it takes the lock if it
// was given, and else looks at it.
func (m *member) fromStandby(ctx context.Context, a *locker.Attempt, c *claim) (locker.Grant, error) {
	s := m.session
	for isFree := false; ; isFree = true {
		s.mu.Lock()
		given, woken, leaves := c.gift.won, m.place.woken, !m.mayStandBy()
		m.place.woken = false
		s.mu.Unlock()
		switch {
		case given != nil:
			c.terms.renewal, c.terms.reserve = a.CheckInterval, c.gift.reserved
			return c.won(ctx, *given)
		case isFree || woken && !leaves:
			return m.newClaim(a).make(ctx, a)
		case leaves:
			err := m.isHeld(a, 1, 0)
			m.stepBack(true)
			return locker.Grant{}, err
		}
		sent := time.Now()
		seen, err := m.poll(ctx, a, protocol.LookToPoll)
		isHeld := errors.Is(err, locker.ErrAlreadyLocked)
		switch {
		case err == nil || isHeld && seen.Place == 1 && seen.Obstacle.Role != protocol.Head && seen.Left == 0:
			c.terms.sent = sent
		case ctx.Err() == nil:
			m.stepBack(true)
		}
		if err != nil {
			return locker.Grant{}, err
		}
	}
}

// takeGift makes a hold of what the session was given before the claim was answered.
func (c *claim) takeGift(ctx context.Context) (locker.Grant, error) {
	s := c.member.session
	s.mu.Lock()
	given := c.gift.won
	s.mu.Unlock()
	if given == nil { // the holder key is wrong
		c.member.stepBack(c.wait)
		return locker.Grant{}, locker.ErrAlreadyLocked
	}
	c.terms.reserve = c.gift.reserved // by an earlier claim
	return c.won(ctx, *given)
}

// staysBy reports whether the session stands by. If so, it is on its wait channel, too, where
// others look for those who wait.
func (m *member) staysBy() bool {
	s := m.session
	s.mu.Lock()
	stays, waits := m.phase == standing, m.place.waits
	m.place.waits = waits || stays
	s.mu.Unlock()
	if stays && !waits {
		s.conn.Send(s.conn.Subscribe(s.insistOnWait, m.waitChannel))
	}
	return stays
}

// standbyPinged takes in a ping to one that stands by: of portalocker's, to which it
// gives way, or of one that is before it in the queue, perhaps, as the queue was lost. It
// looks. session.mu is held.
func (m *member) standbyPinged(foreign bool) {
	if !m.mayBeGiven() || m.claim.gift.won != nil {
		return
	}
	if foreign {
		m.asked.standby = time.Now()
	}
	m.attempt.Wake()
}
