package redislock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
)

// A claim is one attempt to be alone on the channel of a lock.
// In protocol.pml, too: a change here asks for one there.
type claim struct {
	*member
	wait    bool // the session is in the queue, or wants to be
	sent    time.Time
	reserve int
	again   bool          // the session has stood by until now
	renewal time.Duration // how long the lock may be handed over inside the process

	met        bool  // others on the channel
	refused    error // guarded by session.mu: why there is no subscription
	asked      bool  // a run of the script is under way
	named      bool  // which was told who has answered that it holds the lock
	answers    chan answer
	subscribed chan struct{} // closed when the SUBSCRIBE is confirmed, or has failed; nil where the script comes after it anyway
}

func (m *member) newClaim(a *locker.Attempt) *claim {
	c := &claim{member: m, renewal: a.CheckInterval, answers: make(chan answer, 1)}
	if !m.session.fast {
		c.subscribed = make(chan struct{})
	}
	if a.Behind > 0 {
		c.reserve = tokenBlock + min(a.Behind, maxBehind)
	}
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	c.wait = a.Wait || m.queued
	if c.again = m.standby != nil; c.again {
		m.standby = c // and it may be given the lock until this claim is answered
	} else {
		m.told, m.pinged = false, ours
	}
	m.claiming, m.granted, m.unsure, m.moved = true, m.grant != "", false, false
	c.sent = time.Now()
	m.holder, m.answered = "", nil
	return c
}

// send subscribes and runs the script.
func (c *claim) send() {
	before := make([]command, 0, 2) // and the script
	c.run(append(before, c.session.wire.subscribe(func(_ reply, err error) {
		if err != nil {
			c.session.mu.Lock()
			c.refused = err
			c.session.mu.Unlock()
			select {
			case c.answers <- answer{err: err}:
			default: // the script's is first: without the subscription it is no grant
			}
		}
		if c.subscribed != nil {
			close(c.subscribed)
		}
	}, c.channel, c.holdChannel)))
}

func (c *claim) run(before []command) {
	s := c.session
	c.asked = true
	s.mu.Lock()
	known := c.holder
	c.named = known != ""
	c.unsure = !s.fast
	wait := "0"
	switch {
	case c.again:
		wait = "3"
	case c.wait && c.mayStandBy():
		wait = "2"
	case c.wait:
		wait = "1"
	}
	s.mu.Unlock()
	s.runBy(s.wire.sendQuietly, before, claimScript,
		c.keys(),
		[]string{c.channel, s.id, wait, strconv.Itoa(c.reserve), s.dialed.runID, s.about, expiry,
			s.node.settleTime, s.node.settleLong, known},
		func(text string, err error) {
			if err == nil {
				s.mu.Lock()
				c.granted, c.unsure = c.grant != "" || strings.HasPrefix(text, "won "), false
				switch { // here, as the next message may give it the lock
				case text == standbyAnswer:
					c.standby, c.reserved, c.woken = c, c.reserve, false
				case strings.HasPrefix(text, "held "):
					c.standby = nil
				}
				s.mu.Unlock()
			}
			select {
			case c.answers <- answer{text, err}:
			default: // the SUBSCRIBE failed before
			}
		})
}

// settle waits for the outcome: "won ..." or "held ...".
func (c *claim) settle(ctx context.Context) (string, error) {
	confirmed := false // before the run that is under way
	backoff := firstBackoff
	var since time.Time // when the claim first met others
	var giveWay time.Duration
	pinged := false
	for {
		text, err := c.await(ctx)
		if err != nil {
			return "", err
		}
		switch text {
		case "notyet":
			if c.session.fast || confirmed {
				// The server does not know of a subscription that it has confirmed,
				// or that it has processed before the script.
				err := fmt.Errorf("%w: lost the subscription to %q", errProtocol, c.holdChannel)
				c.session.end(err)
				return "", c.session.ended()
			}
			select {
			case <-c.subscribed:
				c.session.mu.Lock()
				err := c.refused
				c.session.mu.Unlock()
				if err != nil {
					return "", err
				}
				confirmed = true
			case <-ctx.Done():
				return "", ctx.Err()
			case <-c.session.done:
				return "", c.session.ended()
			}
		case "first":
			if since.IsZero() {
				since, c.met = time.Now(), true
				giveWay = max(giveWayAfter, 5*since.Sub(c.sent)) // some round trips: for the answer to a ping
			}
			met := time.Since(since)
			if met >= pingAfter && !pinged {
				pinged = true
				c.ping()
			}
			if met >= giveWay || c.named { // by now, or it is no session
				c.giveWay()
			} else if err := c.pause(ctx, backoff); err != nil {
				return "", err
			}
			backoff = min(2*backoff, maxBackoff)
		default:
			return text, nil
		}
		c.run(nil)
	}
}

// await waits for the answer of the run that is under way.
func (c *claim) await(ctx context.Context) (string, error) {
	if c.session.fast {
		c.session.wire.help(func() bool { return len(c.answers) > 0 })
	}
	select {
	case a := <-c.answers: // without a look at ctx, which may be the first
		c.asked = false
		return a.text, a.err
	default:
	}
	select {
	case a := <-c.answers:
		c.asked = false
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-c.session.done:
		return "", c.session.ended()
	}
}

// pause waits for d, or until somebody has answered the ping.
func (c *claim) pause(ctx context.Context, d time.Duration) error {
	c.session.mu.Lock()
	var answered chan struct{}
	if c.holder == "" {
		if c.answered == nil {
			c.answered = make(chan struct{})
		}
		answered = c.answered
	}
	c.session.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-answered:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.session.done:
		return c.session.ended()
	}
	return nil
}

// giveWay has the script take whoever is on the channel for a holder.
func (c *claim) giveWay() {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.holder = unknownHolder
}

// won makes a hold of "won TOKEN WAITING SETTLE", when it is settled that the
// last holder knows of its loss.
func (c *claim) won(ctx context.Context, text string) (locker.Grant, error) {
	s := c.session
	token, waiting, pause, err := parseWon(text)
	if err != nil {
		s.end(err)
		return locker.Grant{}, s.ended()
	}
	now := time.Now()
	h := &hold{member: c.member, token: token, first: token, last: token + uint64(c.reserve), won: now, until: now.Add(c.renewal)} //nolint:gosec // reserve is small and positive
	s.mu.Lock()
	if c.moved {
		s.mu.Unlock()
		c.stepBack(false)
		return locker.Grant{}, errSlotMoved
	}
	c.queued = false
	c.stayAway()
	c.claiming, c.standby, c.grant = false, nil, ""
	c.told = c.told || waiting
	c.hold = h
	s.take(c.sent)
	s.noteHeld(c.channel)
	s.mu.Unlock()
	if pause > 0 {
		s.node.log.Debug("settling", "lock", c.name, "for", pause)
		err = s.sleep(ctx, pause)
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
			s.wire.reading.goesOn() // to hear of a loss at once
		}
		return locker.Grant{Token: token, Hold: h}, nil
	case s.ended() != nil:
		return locker.Grant{}, s.ended()
	default:
		end := c.begin()
		c.unsubscribe(s.wire.send, nil, false, func(error) { end() })
		return locker.Grant{}, locker.ErrAlreadyLocked // by the one who may not know yet that it is not
	}
}

func parseWon(text string) (token uint64, waiting bool, pause time.Duration, err error) {
	var queued, settle int64
	rest, won := strings.CutPrefix(text, messageWon)
	tokenText, rest, more := strings.Cut(rest, " ")
	queuedText, settleText, all := strings.Cut(rest, " ")
	if !won || !more || !all {
		return 0, false, 0, fmt.Errorf("%w: %q from a script", errProtocol, text)
	}
	if token, err = strconv.ParseUint(tokenText, 10, 64); err == nil {
		if queued, err = strconv.ParseInt(queuedText, 10, 64); err == nil {
			settle, err = strconv.ParseInt(settleText, 10, 64)
		}
	}
	return token, queued > 0, time.Duration(settle) * time.Microsecond, err
}

// abandon finishes a claim whose caller has gone. A lock that it has won is
// given back, a place in the queue is kept for the next one in the line.
func (c *claim) abandon(end func()) {
	var text string
	if c.asked {
		text, _ = c.await(context.Background())
	}
	var place int
	if strings.HasPrefix(text, "held ") {
		seen, _ := parseHeld(text)
		place = seen.place
	}
	s := c.session
	s.mu.Lock()
	if place > 0 {
		c.queued = true
	}
	var before []command
	if c.queued && c.wait && !c.waits {
		before = append(before, s.wire.subscribe(s.insistOnWait, c.waitChannel))
	}
	if strings.HasPrefix(text, "won ") {
		c.told = true // whoever waits
		c.queued = false
		before = nil
	}
	s.mu.Unlock()
	c.unsubscribe(s.wire.send, before, c.wait, func(error) { end() })
}
