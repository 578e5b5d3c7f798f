package redislock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
)

// A member is a session's part in one lock: it claims it, holds it or waits for
// it. One goroutine at a time works on it, which Base sees to, and what a Try
// that was cut short has left to do: busy.
// In protocol.pml, too: a change here asks for one there.
type member struct {
	session     *session
	name        string
	channel     string // of the lock; the other channels, and the keys, begin with it
	holdChannel string
	waitChannel string

	// Guarded by session.mu.
	attempt  *locker.Attempt // to wake who waits
	interval time.Duration   // its check interval
	near     *time.Timer     // has one look who came to the front of the queue; nil: never yet
	idle     chan struct{}   // closed when what is under way on the wire has ended; nil: nobody waits for it
	busy     bool            // something is under way
	claiming bool            // subscribed to the lock, not sure to hold it
	granted  bool            // the server has said that it has won
	standby  *claim          // by which it stands by; nil: it does not
	reserved int             // how many tokens it is given then, besides the one
	grant    string          // what has given the lock to one that stands by: "won ..."
	moved    bool            // the slot of a lock that is claimed has moved
	foreign  time.Time       // when one of portalocker's processes has asked one that stands by
	unsure   bool            // the server may have granted the lock, and its answer may come after a ping
	hold     *hold           // held
	queued   bool            // in the queue, as far as known
	waits    bool            // subscribed to the wait channel
	woken    bool            // by the one who left the lock
	told     bool            // that others wait
	pinged   generation      // by which of portalocker's: the last, if by several
	holder   string          // who has answered the claim's ping
	answered chan struct{}   // closed when holder is set; nil: nobody waits for it
	doubt    doubt           // about those who keep one who waits from the lock
	asked    time.Time       // when a holder was asked to restore its hint
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

// try makes one attempt.
func (s *session) try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	if strings.HasSuffix(a.Name, s.id) {
		return locker.Grant{}, fmt.Errorf("%w name: it is that of a channel of this process", locker.ErrInvalid)
	}
	m, err := s.member(ctx, a)
	if err != nil {
		return locker.Grant{}, err
	}
	s.mu.Lock()
	standby := m.standby
	s.mu.Unlock()
	if standby != nil {
		return m.lookFromStandby(ctx, a, standby)
	}
	if why := m.mustLook(a); why != "" {
		if seen, err := m.look(ctx, a, why); err != nil && !seen.standby {
			m.dropUnused()
			return locker.Grant{}, err
		}
	}
	return m.claim(ctx, a, false)
}

// newMember returns a part in a lock that is new.
func newMember(s *session, name, channel string) *member {
	both := channel + ":h:" + s.id + channel + ":w:" + s.id // one string, as a member is made for each lock that is taken
	hold, wait := both[:len(both)/2], both[len(both)/2:]
	return &member{session: s, name: name, channel: channel, holdChannel: hold, waitChannel: wait}
}

// keys returns the keys of the lock.
func (m *member) keys() []string { return m.session.node.keysOf(m.channel) }

// member returns the session's part in a lock when nothing is under way on it.
func (s *session) member(ctx context.Context, a *locker.Attempt) (*member, error) {
	channel := s.node.channelOf(a.Name)
	for {
		s.mu.Lock()
		if s.cause != nil {
			s.mu.Unlock()
			return nil, s.cause
		}
		m := s.members[channel]
		if m == nil {
			m = newMember(s, a.Name, channel)
			s.members[channel] = m
		}
		if !m.busy {
			m.attempt, m.interval = a, a.CheckInterval
			s.mu.Unlock()
			return m, nil
		}
		if m.idle == nil {
			m.idle = make(chan struct{})
		}
		idle := m.idle
		s.mu.Unlock()
		select {
		case <-idle:
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
	m.busy = true
	return func() {
		m.session.mu.Lock()
		defer m.session.mu.Unlock()
		m.busy = false
		m.forget()
		if m.idle != nil {
			close(m.idle)
			m.idle = nil
		}
	}
}

// dropUnused forgets m after an attempt that has left nothing behind.
func (m *member) dropUnused() {
	m.session.mu.Lock()
	defer m.session.mu.Unlock()
	if !m.busy {
		m.forget()
	}
}

// forget forgets m unless it waits. session.mu is held.
func (m *member) forget() {
	if !m.queued && !m.waits && m.session.members[m.channel] == m {
		delete(m.session.members, m.channel)
	}
}

// comeNear has the one who waits look within the check interval: a message says
// that it has come to the front of the queue. session.mu is held.
func (m *member) comeNear() {
	soon := m.interval * 9 / 10
	if m.near != nil {
		m.near.Reset(soon)
		return
	}
	m.near = time.AfterFunc(soon, func() {
		m.session.mu.Lock()
		defer m.session.mu.Unlock()
		if m.queued {
			m.attempt.Wake()
		}
	})
}

// stayAway takes comeNear back. session.mu is held.
func (m *member) stayAway() {
	if m.near != nil {
		m.near.Stop()
	}
}

// claim subscribes to the lock, unless the session is there already, and asks whether
// it is alone on it.
func (m *member) claim(ctx context.Context, a *locker.Attempt, subscribed bool) (locker.Grant, error) {
	c := m.newClaim(a)
	if subscribed {
		c.run(nil)
	} else {
		c.send()
	}
	text, err := c.settle(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		// The front of the line has gone; what it began is finished without it.
		end := m.begin()
		m.session.node.running.Go(func() { c.abandon(end) })
		if c.met {
			err = locker.ErrAlreadyLocked
		}
		return locker.Grant{}, err
	case err != nil:
		m.session.mu.Lock()
		keep := c.wait && c.refused == nil // one who may not subscribe has no place in the queue
		m.queued = m.queued || keep        // it may be
		m.session.mu.Unlock()
		m.stepBack(keep)
		return locker.Grant{}, err
	case strings.HasPrefix(text, "won "):
		return c.won(ctx, text)
	case text == givenAnswer:
		return c.takeGift(ctx)
	default:
		seen, err := parseHeld(text)
		if err == nil {
			err = m.held(a, seen.place, seen.left)
		}
		if !c.staysBy() {
			m.stepBack(c.wait)
		}
		return locker.Grant{}, err
	}
}

// stepBack leaves the lock's channel. One who waits has its wait channel before
// it gives up the hold channel: a wake-up always finds one of them.
func (m *member) stepBack(wait bool) {
	m.session.mu.Lock()
	subscribeFirst := wait && m.queued && !m.waits
	m.session.mu.Unlock()
	var before []command
	if subscribeFirst {
		before = append(before, m.session.wire.subscribe(m.session.insistOnWait, m.waitChannel))
	}
	end := m.begin()
	m.unsubscribe(m.session.wire.send, before, wait, func(error) { end() })
}

// unsubscribe leaves the lock's channel, and tells those who wait if the session
// was told of any. It does not block; done is called when others can have the
// lock and the next claim may begin. What goes out is sent with the function send.
func (m *member) unsubscribe(send func(...command), before []command, keepPlace bool, done func(error)) {
	s := m.session
	s.mu.Lock()
	channels := []string{m.channel, m.holdChannel}
	if m.grant != "" {
		m.passesOn()
	}
	standby := m.standby != nil
	m.standby, m.grant = nil, ""
	if keepPlace && m.queued {
		m.waits = true
	} else {
		m.queued, m.doubt = false, doubt{}
		m.stayAway()
		if m.waits {
			channels = append(channels, m.waitChannel)
			m.waits = false
		}
	}
	yield := ours
	if m.hold != nil || m.pinged == later && !standby { // one that stands by leaves it to the holder
		yield = m.pinged
	}
	if m.hold != nil {
		m.hold = nil
		s.drop()
	}
	if m.told || yield > 0 {
		s.noteContended(m.channel)
	}
	tellNow := (m.told || yield > 0) && s.fast
	s.mu.Unlock()

	left := s.wire.unsubscribe(func(_ reply, err error) {
		s.mu.Lock()
		m.claiming, m.granted, m.unsure = false, false, false
		// Who has queued up while the command was on its way is in the queue that the
		// script after it has seen; without one, it runs now.
		tell := (m.told || yield > 0) && err == nil && !tellNow
		m.told = false
		s.mu.Unlock()
		s.insist(err)
		if isRedirect(err) {
			err = nil // the session has ended, and left all its channels
		}
		switch {
		case !tell:
			done(err)
		case s.fast:
			m.tell(nil, yield, func(string, error) {})
			done(nil)
		default:
			m.tell(nil, yield, func(string, error) { done(nil) })
		}
	}, channels...)
	if tellNow {
		m.tell(append(before, left), yield, func(string, error) {})
	} else {
		send(append(before, left)...)
	}
}

// tell runs the release script.
func (m *member) tell(before []command, yield generation, done func(string, error)) {
	args := []string{m.channel, m.session.id, strconv.Itoa(int(yield))}
	m.session.run(before, releaseScript, m.keys(), args, func(text string, err error) {
		if text == "notyet" {
			// The session is there again: a server that did not know the script has run it
			// after the next claim, which may be that of another member. It tells them when
			// it leaves.
			m.session.mu.Lock()
			if now := m.session.members[m.channel]; now != nil {
				now.told = true
			}
			m.session.mu.Unlock()
		}
		done(text, err)
	})
}

// leave gives up the place in the queue.
func (s *session) leave(ctx context.Context, name string) {
	m, err := s.member(ctx, &locker.Attempt{Name: name})
	if err != nil {
		return
	}
	s.mu.Lock()
	queued, channels := m.queued, []string{}
	if m.standby != nil {
		channels = append(channels, m.channel, m.holdChannel)
	}
	if m.waits {
		channels = append(channels, m.waitChannel)
	}
	standby := m.standby != nil
	m.queued, m.waits, m.doubt, m.standby, m.grant = false, false, doubt{}, nil, ""
	m.stayAway()
	s.mu.Unlock()
	defer m.begin()()
	left := make(chan answer, 1)
	var unsubscribe []command
	if len(channels) > 0 {
		unsubscribe = append(unsubscribe, s.wire.unsubscribe(func(_ reply, err error) {
			s.mu.Lock()
			m.claiming, m.granted, m.told = false, false, false
			s.mu.Unlock()
			s.insist(err)
			left <- answer{err: err}
		}, channels...))
	}
	if standby { // the script is to find it gone, and what it was given meanwhile
		s.wire.send(unsubscribe...)
	}
	if queued {
		if _, err := s.ask(ctx, leaveScript, m.keys(), []string{m.channel, s.id}); err != nil {
			s.node.log.Debug("place in the queue not left", "lock", name, "error", err) // the dead are removed by others
		}
	}
	if !standby {
		s.wire.send(unsubscribe...)
	}
	if len(channels) > 0 {
		_, _ = s.await(ctx, left)
	}
}
