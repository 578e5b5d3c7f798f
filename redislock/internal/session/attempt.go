package session

import (
	"context"
	"fmt"
	"strings"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// A plan is how an attempt begins: where the session stands by, with that; or with a look,
// which has a reason; or with a claim.
type plan struct {
	standby *claim
	why     protocol.LookReason
	claim   *claim
}

// try makes one attempt.
func (s *session) try(ctx context.Context, a *locker.Attempt, channel string) (locker.Grant, error) {
	if strings.HasSuffix(a.Name, s.id) {
		return locker.Grant{}, fmt.Errorf("%w name: it is that of a channel of this process", locker.ErrInvalid)
	}
	m, p, err := s.plan(ctx, a, channel)
	switch {
	case err != nil:
		return locker.Grant{}, err
	case p.standby != nil:
		return m.fromStandby(ctx, a, p.standby)
	case p.why == "":
		return p.claim.make(ctx, a)
	}
	if seen, err := m.poll(ctx, a, p.why); err != nil && !seen.StandBy {
		m.dropUnused()
		return locker.Grant{}, err
	}
	return m.newClaim(a).make(ctx, a)
}

// plan returns the session's part in the lock, and how the attempt begins. One who waits
// and was not woken, and one who comes to a lock that others have waited for lately, looks
// before it claims: a claim disturbs those on the channel.
func (s *session) plan(ctx context.Context, a *locker.Attempt, channel string) (*member, plan, error) {
	m, err := s.idleMember(ctx, a, channel)
	if err != nil {
		return nil, plan{}, err
	}
	defer s.mu.Unlock()
	m.attempt, m.place.every = a, a.CheckInterval
	if m.phase == standing {
		return m, plan{standby: m.claim}, nil
	}
	woken := m.place.woken
	m.place.woken = false
	switch {
	case m.place.queued && !woken:
		return m, plan{why: protocol.LookToPoll}, nil
	case m.place.queued || !s.contendedSince(channel, a.CheckInterval):
		return m, plan{claim: m.newClaimWith(a)}, nil
	case a.Wait:
		return m, plan{why: protocol.LookToJoin}, nil
	default:
		return m, plan{why: protocol.LookToAsk}, nil
	}
}

// make has the claim subscribe to the lock, unless the session is there already, and ask
// whether it is alone on it.
func (c *claim) make(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	if c.stood {
		c.ask()
	} else {
		c.subscribe()
	}
	m := c.member
	switch answer, err := c.settle(ctx); {
	case err != nil && ctx.Err() != nil:
		// The front of the line has gone; what it began is finished without it.
		end := m.begin()
		m.session.env.Running.Go(func() { c.abandon(end) })
		if c.met {
			err = locker.ErrAlreadyLocked
		}
		return locker.Grant{}, err
	case err != nil:
		m.session.mu.Lock()
		keep := c.wait && c.refused == nil      // one who may not subscribe has no place in the queue
		m.place.queued = m.place.queued || keep // it may be
		m.session.mu.Unlock()
		m.stepBack(keep)
		return locker.Grant{}, err
	case answer.Outcome == protocol.OutcomeWon:
		return c.won(ctx, answer.Won)
	case answer.Outcome == protocol.OutcomeGiven:
		return c.takeGift(ctx)
	default:
		err := m.isHeld(a, answer.Place, answer.Left)
		if !m.staysBy() {
			m.stepBack(c.wait)
		}
		return locker.Grant{}, err
	}
}

// won makes a hold of what a claim has won, when it is settled that the last holder knows of
// its loss.
func (c *claim) won(ctx context.Context, w protocol.Won) (locker.Grant, error) {
	m, s := c.member, c.member.session
	h := newHold(c, w)
	s.mu.Lock()
	if c.moved {
		s.mu.Unlock()
		m.stepBack(false)
		return locker.Grant{}, errSlotMoved
	}
	m.enter(held)
	m.leaveQueue()
	m.asked.told = m.asked.told || w.Waiting
	m.claim, m.hold = nil, h
	s.take(c.terms.sent)
	s.noteHeld(m.channel)
	s.mu.Unlock()
	var err error
	if w.Settle > 0 {
		s.env.Log.Debug("settling", "lock", m.name, "for", w.Settle)
		err = s.sleep(ctx, w.Settle)
	}
	if err == nil {
		err = s.leased(ctx)
	}
	if err == nil && s.expired() {
		s.end(errLeaseOver)
		err = s.ended()
	}
	switch {
	case err == nil:
		if !s.brief.Load() {
			s.conn.GoOn() // to hear of a loss at once
		}
		return locker.Grant{Token: h.token, Hold: h}, nil
	case s.ended() != nil:
		return locker.Grant{}, s.ended()
	default:
		if end, gone := h.beginLeaving(); gone == nil {
			m.leaveChannel(false, func(error) { end() })
			s.conn.Resume()
		}
		return locker.Grant{}, locker.ErrAlreadyLocked // by the one who may not know yet that it is not
	}
}

// abandon finishes a claim whose caller has gone. A lock that it has won is
// given back, a place in the queue is kept for the next one in the line.
func (c *claim) abandon(end func()) {
	var answer protocol.ClaimAnswer
	if c.underWay {
		answer, _ = c.await(context.Background())
	}
	m, s := c.member, c.member.session
	s.mu.Lock()
	if answer.Place > 0 {
		m.place.queued = true
	}
	var before []conn.Command
	if m.place.queued && c.wait && !m.place.waits {
		before = append(before, s.conn.Subscribe(s.insistOnWait, m.waitChannel))
	}
	if answer.Outcome == protocol.OutcomeWon {
		m.asked.told = true // whoever waits
		m.place.queued = false
		before = nil
	}
	s.mu.Unlock()
	m.leaveChannel(c.wait, func(error) { end() }, before...)
	s.conn.Resume()
}
