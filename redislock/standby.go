package redislock

import (
	"context"
	"errors"
	"time"

	"github.com/golocker/locker"
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

// What a claim is answered.
const (
	standbyAnswer = "held 1 standby" // it is to stand by
	givenAnswer   = "given"          // it has stood by, and was given the lock meanwhile
)

// foreignTime is how long a session does not stand by after a ping of portalocker's.
const foreignTime = time.Second

// mayStandBy reports whether a claim may lead to standing by. session.mu is held.
func (m *member) mayStandBy() bool {
	return m.session.fast && time.Since(m.foreign) >= foreignTime
}

// isNext takes in that m has become the first in the queue. session.mu is held.
func (m *member) isNext() {
	switch {
	case m.standby != nil || !m.queued && !m.claiming:
	case m.mayStandBy():
		m.woken = true
		m.attempt.Wake()
	default:
		m.comeNear()
	}
}

// given takes in that the server has given the lock to m, with "won ...". session.mu is
// held.
func (m *member) given(text string) {
	_, _, _, err := parseWon(text)
	switch {
	case err != nil || m.attempt == nil || m.hold != nil:
	case m.standby == nil: // it leaves the channel
		m.passesOn()
	default:
		m.grant, m.granted = text, true
		m.told, m.pinged = false, ours // of this hold
		m.attempt.Wake()
	}
}

// passesOn has m pass the lock on that it was given, when it leaves the channel: it has
// no place in the queue any more. If it waits, it claims the lock again then.
// session.mu is held.
func (m *member) passesOn() {
	m.told, m.woken = true, true
	m.attempt.Wake()
}

// lookFromStandby is what an attempt does for one that stands by: it takes the lock if it
// was given, and else looks at it.
func (m *member) lookFromStandby(ctx context.Context, a *locker.Attempt, c *claim) (locker.Grant, error) {
	s := m.session
	for isFree := false; ; isFree = true {
		s.mu.Lock()
		text, woken, leaves := m.grant, m.woken, !m.mayStandBy()
		m.woken = false
		s.mu.Unlock()
		switch {
		case text != "":
			c.renewal = a.CheckInterval
			if time.Since(c.sent) >= s.node.options.lease()/2 {
				c.sent = time.Time{}
			}
			return c.won(ctx, text)
		case isFree || woken && !leaves:
			return m.claim(ctx, a, true)
		case leaves:
			err := m.held(a, 1, 0)
			m.stepBack(true)
			return locker.Grant{}, err
		}
		sent := time.Now()
		seen, err := m.look(ctx, a, lookToPoll)
		isHeld := errors.Is(err, locker.ErrAlreadyLocked)
		switch {
		case err == nil || isHeld && seen.place == 1 && seen.about.role != roleHead && seen.left == 0:
			c.sent = sent
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
	c.session.mu.Lock()
	text := c.grant
	c.session.mu.Unlock()
	if text == "" { // the holder key is wrong
		c.stepBack(c.wait)
		return locker.Grant{}, locker.ErrAlreadyLocked
	}
	c.reserve = c.reserved // by an earlier claim
	return c.won(ctx, text)
}

// staysBy reports whether the answer to a claim has left the session on standby. If so,
// it is on its wait channel, too, where others look for those who wait.
func (c *claim) staysBy() bool {
	s := c.session
	s.mu.Lock()
	stays, waits := c.standby == c, c.waits
	c.waits = waits || stays
	s.mu.Unlock()
	if stays && !waits {
		s.wire.send(s.wire.subscribe(s.insistOnWait, c.waitChannel))
	}
	return stays
}

// standbyPinged takes in a ping to one that stands by: of portalocker's, to which it
// gives way, or of one that is before it in the queue, perhaps, as the queue was lost. It
// looks. session.mu is held.
func (m *member) standbyPinged(foreign bool) {
	if m.standby == nil || m.grant != "" {
		return
	}
	if foreign {
		m.foreign = time.Now()
	}
	m.attempt.Wake()
}
