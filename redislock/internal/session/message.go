package session

import (
	"time"

	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// message takes in what came on one of the session's channels. It runs on the
// goroutine that reads.
func (s *session) message(channel string, payload *resp.Value) {
	if payload.Cut {
		return
	}
	s.mu.Lock()
	then := s.hear(channel, payload.Text)
	s.mu.Unlock()
	if then != nil {
		then()
	}
}

// hear takes in a message, and returns what is to be done then, if anything. mu is held.
func (s *session) hear(channel, text string) (then func()) {
	if channel == protocol.SessionChannel(s.id) {
		s.heard(text)
		return nil
	}
	lock, kind := protocol.Split(channel, s.id)
	m := s.members[lock]
	switch {
	case m == nil:
		return nil
	case kind == protocol.Lock:
		return m.pinged(text)
	}
	switch text {
	case protocol.MessageWake:
		m.wake()
	case protocol.MessageWait:
		m.asked.told = true
	case protocol.MessageRenew:
		return func() { m.renew(func(string, error) {}) }
	case protocol.MessageNext:
		m.isNext()
	case protocol.MessageNear:
		if m.place.queued || m.claim != nil {
			m.comeNear()
		}
	default:
		if w, ok := protocol.ParseGiven(text); ok {
			m.isGiven(w)
		} else if first, last, ok := protocol.ParseBreak(text); ok {
			return m.brokenBy(first, last)
		} else {
			return m.answered(protocol.ParsePong(text), kind == protocol.Hold)
		}
	}
	return nil
}

const (
	maxPongs   = 4096 // answers to pings on their way
	maxForeign = 64   // of them, those to pings that are not of this library
)

// pinged takes in a message on the lock's channel, and returns what answers it, if it is a
// ping and the session is on the channel. session.mu is held.
// In protocol.pml, too: a change here asks for one there.
func (m *member) pinged(text string) (answer func()) {
	s := m.session
	if m.hold == nil && m.claim == nil {
		return nil
	}
	channel, from, ok := protocol.ParsePing(m.channel, text)
	if !ok || channel == m.holdChannel || channel == m.waitChannel {
		return nil
	}
	foreign := from != protocol.Ours
	m.standbyPinged(foreign)
	if foreign {
		m.asked.by = max(m.asked.by, from)
		if s.foreign >= maxForeign {
			return nil // who asks again is answered then
		}
		s.foreign++
	} else if s.lease.pings++; s.lease.pings-s.lease.pongs > maxPongs {
		return nil // and the lease is not renewed any more
	}
	holds := m.holdsFor(foreign)
	if !holds {
		m.asked.told = m.asked.told || !foreign // it may give way to this claim, and wait
	}
	pong := protocol.NewPong(s.id, holds, !foreign)
	if foreign {
		return func() { s.answerForeign(channel, pong) }
	}
	return func() { s.answer(channel, pong, true) }
}

// holdsFor reports whether m is to answer a ping as one that holds the lock: to a process of
// portalocker, which takes the lock where nobody does, also where it may. session.mu is held.
func (m *member) holdsFor(foreign bool) bool {
	switch c := m.claim; {
	case c == nil:
		return m.phase == held
	case c.granted:
		return true
	default:
		return foreign && (c.unsure || m.mayBeGiven())
	}
}

// answer sends a pong to a session, and, as the lease depends on it, once more if that fails.
func (s *session) answer(channel, pong string, again bool) {
	s.publish(channel, pong, func(err error) {
		switch {
		case err == nil:
			s.ponged()
		case again:
			s.answer(channel, pong, false)
		default:
			s.notAnswered(channel, err)
		}
	})
}

// answerForeign sends a pong to a process of portalocker.
func (s *session) answerForeign(channel, pong string) {
	s.publish(channel, pong, func(err error) {
		if err != nil {
			s.notAnswered(channel, err)
		}
		s.mu.Lock()
		s.foreign--
		s.mu.Unlock()
	})
}

func (s *session) notAnswered(channel string, err error) {
	s.env.Log.Debug("ping not answered", "channel", channel, "error", err)
}

// askedEvery is how often a holder is asked to restore its hint, at most: it may have done
// so in another database.
const askedEvery = 30 * time.Second

// answered takes in an answer to a ping, of a claim or of a waiter, and returns what is
// then to be done, if anything: a holder that no hint names is asked to restore it.
// session.mu is held.
func (m *member) answered(p protocol.Pong, toClaim bool) (ask func()) {
	m.suspect.answered(p.HolderID)
	if c := m.claim; toClaim && c != nil {
		if p.HolderID != protocol.Foreign && !p.Ours && p.Mode != protocol.Exclusive {
			m.asked.by = protocol.LaterPortalocker // or is to be
		}
		if c.holder.sid == "" && p.Mode != protocol.Pending {
			c.holder.sid = p.HolderID
			if c.holder.came != nil {
				close(c.holder.came)
			}
		}
	}
	if toClaim || p.Mode != protocol.Exclusive || p.HolderID == protocol.Foreign ||
		m.suspect.of.Role != protocol.Unknown || time.Since(m.suspect.asked) < askedEvery {
		return nil
	}
	m.suspect.asked = time.Now()
	return func() {
		m.session.publish(protocol.HoldChannel(m.channel, p.HolderID), protocol.MessageRenew, func(error) {})
	}
}
