package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
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
	m.attempt = a
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
	if c.again {
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
	s.take(c.sent)
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
		m.stepBack(false)
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

// stepBack leaves the lock's channel. One who waits has its wait channel before
// it gives up the hold channel: a wake-up always finds one of them.
func (m *member) stepBack(wait bool) {
	s := m.session
	s.mu.Lock()
	var before []conn.Command
	if wait && m.place.queued && !m.place.waits {
		before = append(before, s.conn.Subscribe(s.insistOnWait, m.waitChannel))
	}
	end := m.beginWith()
	s.mu.Unlock()
	m.leaveChannel(wait, func(error) { end() }, before...)
	s.conn.Resume()
}

// leaveChannel leaves the lock's channel, and tells those who wait if the session
// was told of any. It does not block; done is called when others can have the
// lock and the next claim may begin. It is for the caller to call conn.Help, or conn.Resume.
func (m *member) leaveChannel(keepPlace bool, done func(error), before ...conn.Command) {
	s := m.session
	s.mu.Lock()
	channels := []string{m.channel, m.holdChannel}
	stood := m.mayBeGiven()
	if stood && m.claim.given != nil {
		m.passesOn()
	}
	if m.claim != nil {
		m.claim.again, m.claim.given = false, nil
	}
	if keepPlace && m.place.queued {
		m.place.waits = true
	} else {
		m.leaveQueue()
		m.suspect = suspicion{}
		if m.place.waits {
			channels = append(channels, m.waitChannel)
			m.place.waits = false
		}
	}
	yield := protocol.Ours
	if m.hold != nil || m.asked.by == protocol.LaterPortalocker && !stood { // one that stands by leaves it to the holder
		yield = m.asked.by
	}
	if m.hold != nil {
		m.hold = nil
		s.drop()
	}
	m.enter(leaving)
	tell := m.asked.told || yield != protocol.Ours
	if tell {
		s.noteContended(m.channel)
	}
	s.mu.Unlock()

	left := s.conn.Unsubscribe(func(_ resp.Value, err error) { m.hasLeft(err, yield, tell && s.fast, done) }, channels...)
	before = append(before, left)
	if tell && s.fast {
		s.write(m.release(yield), m.released(func(string, error) {}), before...)
	} else {
		s.conn.Write(before...)
	}
}

// hasLeft takes in that the server has confirmed that the session has left the channel. told
// is whether the script that tells those who wait has been sent with that.
func (m *member) hasLeft(err error, yield protocol.Generation, told bool, done func(error)) {
	s := m.session
	s.mu.Lock()
	m.enter(idle)
	m.claim = nil
	// Who has queued up while the command was on its way is in the queue that the
	// script after it has seen; without one, it runs now.
	tell := (m.asked.told || yield != protocol.Ours) && err == nil && !told
	m.asked.told = false
	s.mu.Unlock()
	s.insist(err)
	if resp.IsRedirect(err) {
		err = nil // the session has ended, and left all its channels
	}
	switch {
	case !tell:
		done(err)
	case s.fast:
		s.run(m.release(yield), m.released(func(string, error) {}))
		done(nil)
	default:
		s.run(m.release(yield), m.released(func(string, error) { done(nil) }))
	}
}

// release is the call that passes the lock on.
func (m *member) release(yield protocol.Generation) protocol.Call {
	return protocol.Release{Channel: m.channel, SID: m.session.id, Asked: yield}.In(m.session.server.Scheme)
}

// released returns what takes in the answer to it, and calls done. If the session is there
// again (a server that did not know the script has run it after the next claim, which may be
// that of another member), it tells those who wait when it leaves.
func (m *member) released(done func(string, error)) func(string, error) {
	return func(text string, err error) {
		if protocol.ReleaseCameLate(text) {
			m.session.mu.Lock()
			if now := m.session.members[m.channel]; now != nil {
				now.asked.told = true
			}
			m.session.mu.Unlock()
		}
		done(text, err)
	}
}

// leave gives up the place in the queue.
func (s *session) leave(ctx context.Context, channel string) {
	m, err := s.idleMember(ctx, nil, channel)
	if err != nil {
		return
	}
	if m == nil {
		s.mu.Unlock()
		return
	}
	queued, stood := m.place.queued, m.phase == standing
	var channels []string
	if stood {
		channels = append(channels, m.channel, m.holdChannel)
		m.enter(leaving)
		m.claim.again, m.claim.given = false, nil
	}
	if m.place.waits {
		channels = append(channels, m.waitChannel)
	}
	m.place.waits, m.suspect = false, suspicion{}
	m.leaveQueue()
	end := m.beginWith()
	s.mu.Unlock()
	defer end()
	left := make(chan answer, 1)
	unsubscribe := func() {
		if len(channels) == 0 {
			return
		}
		s.conn.Send(s.conn.Unsubscribe(func(_ resp.Value, err error) {
			s.mu.Lock()
			if stood {
				m.enter(idle)
				m.claim = nil
			}
			m.asked.told = false
			s.mu.Unlock()
			s.insist(err)
			left <- answer{err: err}
		}, channels...))
	}
	if stood { // the script is to find it gone, and what it was given meanwhile
		unsubscribe()
	}
	if queued {
		call := protocol.Leave{Channel: channel, SID: s.id}.In(s.server.Scheme)
		if _, err := s.ask(ctx, call); err != nil && !errors.Is(err, errClosing) {
			s.env.Log.Debug("place in the queue not left", "lock", m.name, "error", err) // the dead are removed by others
		}
	}
	if !stood {
		unsubscribe()
	}
	if len(channels) > 0 {
		_, _ = s.await(ctx, left)
	}
}
