package redislock

import (
	"encoding/json"
	"strings"
	"time"
)

// What is said on the channels of sessions. On the lock's own channel there are
// pings only: a holder that is a portalocker dies of anything else.
const (
	messageWake = "wake" // to one who waits: claim now
	messageWait = "wait" // to the holder: others wait
	messageNear = "near" // to one who waits: it is the second in the queue
	messageNext = "next" // to one who waits: it is the first
	messageWon  = "won " // and more, see claim.lua, to the one that stands by: it has the lock

	messageRenew = "renew"  // to the holder: its hint is missing
	messageBreak = "break " // and a token, to the holder: the lock is taken from it
)

// unknownHolder stands for a holder that is not a session.
const unknownHolder = "foreign"

// A ping asks whoever holds or claims a lock to answer on ResponseChannel.
type ping struct {
	ResponseChannel string `json:"response_channel"`
	Message         string `json:"message,omitempty"`
}

// A pong answers a ping, in the form of portalocker 4.
type pong struct {
	HolderID string `json:"holder_id"`
	Mode     string `json:"mode"` // "exclusive": it holds the lock; "pending": it claims it
	Protocol int    `json:"protocol"`
	Elected  bool   `json:"elected"`
	Ours     bool   `json:"ours,omitempty"` // only to a ping of this library
}

// pingText is a ping that is to be answered on a channel.
func pingText(channel string) string {
	text, _ := json.Marshal(ping{ResponseChannel: channel, Message: "ping"}) // of strings: cannot fail
	return string(text)
}

// ping asks who is on the lock's channel. Answers come on the hold channel.
func (c *claim) ping() {
	c.session.publish(c.channel, pingText(c.holdChannel), func(error) {})
}

// message takes in what came on one of the session's channels. It runs on the
// goroutine that reads.
func (s *session) message(channel string, payload *reply) {
	s.mu.Lock()
	answer, leave := s.hear(channel, payload)
	s.mu.Unlock()
	if answer.channel != "" {
		s.answer(answer)
	}
	if leave != nil {
		leave()
	}
}

// An outgoing pong is an answer to a ping.
type outgoing struct {
	channel, payload string
	foreign          bool
	again            bool
}

// answer sends a pong.
func (s *session) answer(p outgoing) {
	s.publish(p.channel, p.payload, func(err error) {
		switch {
		case err != nil && !p.foreign && !p.again: // the lease depends on it
			p.again = true
			s.answer(p)
		case err != nil:
			s.node.log.Debug("ping not answered", "channel", p.channel, "error", err)
		case !p.foreign:
			s.ponged()
		}
		if p.foreign {
			s.mu.Lock()
			s.foreign--
			s.mu.Unlock()
		}
	})
}

// hear takes in a message, and returns what is to be answered, and then to be done, if
// anything. mu is held.
func (s *session) hear(channel string, payload *reply) (answer outgoing, leave func()) {
	if payload.cut {
		return outgoing{}, nil
	}
	if channel == sessionName(s.id) {
		s.heard(payload.text)
		return outgoing{}, nil
	}
	m, kind := s.memberOf(channel)
	if m == nil {
		return outgoing{}, nil
	}
	switch {
	case kind == "":
		return m.pingedWith(payload.text), nil
	case payload.text == messageWake:
		m.woken = true
		if m.attempt != nil {
			m.attempt.Wake()
		}
	case payload.text == messageWait:
		m.told = true
	case payload.text == messageRenew:
		return outgoing{}, func() { m.renew(func(string, error) {}) }
	case strings.HasPrefix(payload.text, messageBreak):
		return outgoing{}, m.brokenBy(payload.text[len(messageBreak):])
	case strings.HasPrefix(payload.text, messageWon):
		m.given(payload.text)
	case payload.text == messageNext:
		m.isNext()
	case payload.text == messageNear:
		if m.queued || m.claiming {
			m.comeNear()
		}
	default:
		return outgoing{}, m.answeredWith(payload.text, kind == ":h:")
	}
	return outgoing{}, nil
}

// memberOf returns the part in a lock that a channel belongs to, or nil, and what
// the channel is for: ":h:", ":w:", or "" for that of the lock. mu is held.
func (s *session) memberOf(channel string) (m *member, kind string) {
	if prefix, ok := strings.CutSuffix(channel, s.id); ok && len(prefix) > 3 {
		channel, kind = prefix[:len(prefix)-3], prefix[len(prefix)-3:]
	}
	return s.members[channel], kind
}

// pingedWith answers a message on the lock's channel, if it is a ping and the
// session has a part in the lock. session.mu is held.
// In protocol.pml, too: a change here asks for one there.
func (m *member) pingedWith(text string) outgoing {
	s := m.session
	var p ping
	if (m.hold == nil && !m.claiming) || json.Unmarshal([]byte(text), &p) != nil {
		return outgoing{}
	}
	from, ok := m.mayAnswer(p.ResponseChannel)
	foreign := from != ours
	if !ok || p.ResponseChannel == m.holdChannel || p.ResponseChannel == m.waitChannel {
		return outgoing{}
	}
	m.standbyPinged(foreign)
	if foreign {
		m.pinged = max(m.pinged, from)
		if s.foreign >= maxForeign {
			return outgoing{} // who asks again is answered then
		}
		s.foreign++
	} else if s.lease.pings++; s.lease.pings-s.lease.pongs > maxPongs {
		return outgoing{} // and the lease is not renewed any more
	}
	who := pong{HolderID: s.id, Mode: "pending", Protocol: 1, Ours: !foreign}
	if m.hold != nil || m.granted || foreign && (m.unsure || m.standby != nil) {
		who.Mode, who.Elected = "exclusive", true
	} else {
		m.told = m.told || !foreign // it may give way to this claim, and wait
	}
	reply, _ := json.Marshal(who) // cannot fail
	return outgoing{channel: p.ResponseChannel, payload: string(reply), foreign: foreign}
}

// mayAnswer reports whether a ping may be answered on channel: only on channels
// that belong to this lock, whatever the sender asks for. Those of portalocker
// are the lock's name and "-", and a random fraction or, since version 4, 32 hex digits.
func (m *member) mayAnswer(channel string) (from generation, ok bool) {
	rest, ok := strings.CutPrefix(channel, m.channel)
	if !ok || len(rest) < 2 {
		return ours, false
	}
	if rest[0] == '-' {
		rest = rest[1:]
		if isSessionID(rest) {
			return later, true
		}
		return first, isFraction(rest)
	}
	if len(rest) != len(":h:")+32 || rest[0] != ':' || rest[2] != ':' || (rest[1] != 'h' && rest[1] != 'w') {
		return ours, false
	}
	return ours, isSessionID(rest[3:])
}

func isSessionID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// isFraction reports whether s is a number between 0 and 1, as Python writes it.
func isFraction(s string) bool {
	digits, exponent, small := strings.Cut(s, "e-")
	if small && (exponent == "" || strings.Trim(exponent, "0123456789") != "") {
		return false
	}
	whole, fraction, ok := strings.Cut(digits, ".")
	return (ok && fraction != "" || small && !ok) && len(s) <= 32 && len(whole) == 1 && strings.Trim(whole+fraction, "0123456789") == ""
}

// askedEvery is how often a holder is asked to restore its hint, at most: it may have done
// so in another database.
const askedEvery = 30 * time.Second

// answeredWith takes in an answer to a ping, of a claim or of a waiter, and returns what is
// then to be done, if anything: a holder that no hint names is asked to restore it.
// session.mu is held.
func (m *member) answeredWith(text string, toClaim bool) (ask func()) {
	var p pong
	who := unknownHolder // of the first generation: a number, or anything
	if json.Unmarshal([]byte(text), &p) == nil && isSessionID(p.HolderID) {
		who = p.HolderID
	}
	m.doubt.answered(who)
	if toClaim && m.claiming && who != unknownHolder && !p.Ours && p.Mode != "exclusive" {
		m.pinged = later // or is to be
	}
	if toClaim && m.claiming && m.holder == "" && p.Mode != "pending" {
		m.holder = who
		if m.answered != nil {
			close(m.answered)
		}
	}
	if toClaim || p.Mode != "exclusive" || who == unknownHolder || m.doubt.about.role != roleUnknown || time.Since(m.asked) < askedEvery {
		return nil
	}
	m.asked = time.Now()
	return func() { m.session.publish(m.channel+":h:"+who, messageRenew, func(error) {}) }
}
