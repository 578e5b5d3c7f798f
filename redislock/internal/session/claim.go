package session

import (
	"context"
	"fmt"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// A claim is one attempt to be alone on the channel of a lock.
// In protocol.pml, too: a change here asks for one there.
type claim struct {
	member *member
	wait   bool // the session is in the queue, or wants to be
	stood  bool // it has stood by until this claim: it is on the channel

	// Of the goroutine that makes it.
	terms      terms
	question   question // of the next run of the script
	underWay   bool     // a run is
	canHelp    bool     // with reading its answer
	met        bool     // others on the channel
	answers    chan claimAnswer
	subscribed chan struct{} // closed when the SUBSCRIBE is confirmed, or has failed; nil where the script comes after it anyway

	// Guarded by session.mu.
	gift    gift
	holder  answerer
	granted bool  // the server has said that it has won
	unsure  bool  // the server may have granted the lock, and its answer may come after a ping
	refused error // why there is no subscription
	moved   bool  // the slot of the lock has moved
}

// The terms are those of the hold that a claim may lead to.
type terms struct {
	sent    time.Time     // when it was asked for, or confirmed by a look: the lease runs from there, see take
	reserve int           // tokens, besides the one
	renewal time.Duration // how long the lock may be handed over inside the process
}

// A question is what a run of the script is told.
type question struct {
	mode  protocol.ClaimMode
	known string // who has answered that it holds the lock
}

// A gift is the lock that one who stands by is given.
type gift struct {
	mayCome  bool          // it stands by, or has until this claim, which is not answered
	reserved int           // how many tokens it is given then, besides the one
	won      *protocol.Won // it has come
}

// An answerer is who has answered the claim's ping.
type answerer struct {
	sid  string        // protocol.Foreign for one that is no session; "": nobody
	came chan struct{} // closed when sid is set; nil: nobody waits for it
}

type claimAnswer struct {
	protocol.ClaimAnswer
	err error
}

// How a claim that meets others on the channel goes on.
const (
	firstBackoff = 100 * time.Microsecond
	maxBackoff   = 10 * time.Millisecond
	pingAfter    = 2 * time.Millisecond
	giveWayAfter = 50 * time.Millisecond // then it leaves, answer or not
	tokenBlock   = 32                    // tokens to reserve where a hand-over is likely; fewer than the microseconds that a claim takes
	maxBehind    = 64                    // and one for each Acquire that waits already, up to so many: to serve them takes as long
)

func (m *member) newClaim(a *locker.Attempt) *claim {
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	return m.newClaimWith(a)
}

// newClaimWith is newClaim. session.mu is held.
func (m *member) newClaimWith(a *locker.Attempt) *claim {
	c := &claim{member: m, wait: a.Wait || m.place.queued, answers: make(chan claimAnswer, 1)}
	c.terms.sent, c.terms.renewal = time.Now(), a.CheckInterval
	if !m.session.fast {
		c.subscribed = make(chan struct{})
	}
	if a.Behind > 0 {
		c.terms.reserve = tokenBlock + min(a.Behind, maxBehind)
	}
	if m.phase == standing {
		c.stood, c.gift, c.granted = true, m.claim.gift, m.claim.granted
		c.gift.mayCome = true
	} else {
		m.asked.told, m.asked.by = false, protocol.Ours
	}
	m.claim = c
	m.enter(claiming)
	c.prepare()
	return c
}

// prepare says what the next run of the script is told. session.mu is held.
func (c *claim) prepare() {
	c.question.known = c.holder.sid
	switch {
	case c.gift.mayCome:
		c.question.mode = protocol.ClaimAgain
	case c.wait && c.member.mayStandBy():
		c.question.mode = protocol.ClaimStandBy
	case c.wait:
		c.question.mode = protocol.ClaimQueue
	default:
		c.question.mode = protocol.ClaimOnce
	}
}

// subscribe subscribes to the lock's channel, and asks whether the session is alone on it.
func (c *claim) subscribe() {
	m, s := c.member, c.member.session
	c.ask(s.conn.Subscribe(func(_ resp.Value, err error) {
		if err != nil {
			s.mu.Lock()
			c.refused = err
			s.mu.Unlock()
			select {
			case c.answers <- claimAnswer{err: err}:
			default: // the script's is first: without the subscription it is no grant
			}
		}
		if c.subscribed != nil {
			close(c.subscribed)
		}
	}, m.channel, m.holdChannel))
}

// ask runs the script.
func (c *claim) ask(before ...conn.Command) {
	m, s := c.member, c.member.session
	c.underWay = true
	if !s.fast {
		s.mu.Lock()
		c.unsure = true
		s.mu.Unlock()
	}
	c.canHelp = s.write(protocol.Claim{
		Channel: m.channel, SID: s.id, Mode: c.question.mode, Reserve: c.terms.reserve, Run: s.dialed.RunID, About: s.about,
		Settle: s.env.Options.SettleTime, SettleLong: s.env.Options.Lease(), Known: c.question.known,
	}.In(s.server.Scheme), c.takeAnswer, before...)
}

// takeAnswer takes in what the script has answered, on the goroutine that reads: the next
// message may give the lock to a session that stands by from now on.
func (c *claim) takeAnswer(text string, err error) {
	m, s := c.member, c.member.session
	var a protocol.ClaimAnswer
	if err == nil {
		a, err = protocol.ParseClaim(text)
		s.mu.Lock()
		if m.claim == c && m.phase == claiming {
			c.granted, c.unsure = c.gift.won != nil || a.Outcome == protocol.OutcomeWon, false
			switch a.Outcome {
			case protocol.OutcomeStandsBy:
				m.enter(standing)
				c.gift.reserved, m.place.woken = c.terms.reserve, false
			case protocol.OutcomeHeld:
				c.gift.mayCome = false
			}
		}
		s.mu.Unlock()
	}
	select {
	case c.answers <- claimAnswer{a, err}:
	default: // the SUBSCRIBE failed before
	}
}

// settle waits for the outcome: the lock is won, or given, or held.
func (c *claim) settle(ctx context.Context) (protocol.ClaimAnswer, error) {
	s := c.member.session
	confirmed := false // before the run that is under way
	backoff := firstBackoff
	var since time.Time // when the claim first met others
	var giveWay time.Duration
	pinged := false
	for {
		answer, err := c.await(ctx)
		switch {
		case err != nil:
			return answer, err
		case answer.Outcome == protocol.OutcomeNoChannel && (s.fast || confirmed):
			// The server does not know of a subscription that it has confirmed,
			// or that it has processed before the script.
			s.end(fmt.Errorf("%w: lost the subscription to %q", resp.ErrProtocol, c.member.holdChannel))
			return answer, s.ended()
		case answer.Outcome == protocol.OutcomeNoChannel:
			if err := c.awaitSubscription(ctx); err != nil {
				return answer, err
			}
			confirmed = true
		case answer.Outcome == protocol.OutcomeFirst:
			if since.IsZero() {
				since, c.met = time.Now(), true
				giveWay = max(giveWayAfter, 5*since.Sub(c.terms.sent)) // some round trips: for the answer to a ping
			}
			met := time.Since(since)
			if met >= pingAfter && !pinged {
				pinged = true
				c.ping()
			}
			if met >= giveWay || c.question.known != "" { // by now, or it is no session
				c.giveWay()
			} else if err := c.pause(ctx, backoff); err != nil {
				return answer, err
			}
			backoff = min(2*backoff, maxBackoff)
		default:
			return answer, nil
		}
		s.mu.Lock()
		c.prepare()
		s.mu.Unlock()
		c.ask()
	}
}

// await waits for the answer of the run that is under way.
func (c *claim) await(ctx context.Context) (protocol.ClaimAnswer, error) {
	s := c.member.session
	if c.canHelp {
		s.conn.Help(func() bool { return len(c.answers) > 0 })
	} else {
		s.conn.Resume()
	}
	var a claimAnswer
	select {
	case a = <-c.answers: // without a look at ctx, which may be the first
	default:
		select {
		case a = <-c.answers:
		case <-ctx.Done():
			return protocol.ClaimAnswer{}, ctx.Err()
		case <-s.done:
			return protocol.ClaimAnswer{}, s.ended()
		}
	}
	c.underWay = false
	if a.err != nil && a.Outcome == protocol.OutcomeWon { // it may hold the lock, and does not know its token
		s.end(a.err)
		return a.ClaimAnswer, s.ended()
	}
	return a.ClaimAnswer, a.err
}

// awaitSubscription waits until the server has confirmed the subscription.
func (c *claim) awaitSubscription(ctx context.Context) error {
	s := c.member.session
	select {
	case <-c.subscribed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.refused
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.ended()
	}
}

// ping asks who is on the lock's channel. Answers come on the hold channel.
func (c *claim) ping() {
	c.member.session.publish(c.member.channel, protocol.NewPing(c.member.holdChannel), func(error) {})
}

// pause waits for d, or until somebody has answered the ping.
func (c *claim) pause(ctx context.Context, d time.Duration) error {
	s := c.member.session
	s.mu.Lock()
	var answered chan struct{}
	if c.holder.sid == "" {
		if c.holder.came == nil {
			c.holder.came = make(chan struct{})
		}
		answered = c.holder.came
	}
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-answered:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.ended()
	}
	return nil
}

// giveWay has the script take whoever is on the channel for a holder.
func (c *claim) giveWay() {
	s := c.member.session
	s.mu.Lock()
	defer s.mu.Unlock()
	c.holder.sid = protocol.Foreign
}
