package redislock

import (
	"encoding/json"
	"strings"
)

// What is said on the channels of sessions. On the lock's own channel there are
// pings only: a holder that is a portalocker dies of anything else.
const (
	messageWake = "wake" // to one who waits: claim now
	messageWait = "wait" // to the holder: others wait
	messageNear = "near" // to one who waits: it is among the first two
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
}

// ping asks who is on the lock's channel. Answers come on the hold channel.
func (c *claim) ping() {
	text, _ := json.Marshal(ping{ResponseChannel: c.holdChannel, Message: "ping"}) // of strings: cannot fail
	c.session.say(c.name, string(text))
}

// say publishes, soon; what is too much is dropped, as nothing relies on it.
func (s *session) say(channel, payload string) {
	select {
	case s.publications <- publication{channel, payload}:
	default:
	}
}

// message takes in what came on one of the session's channels. It runs on the
// goroutine that reads.
func (s *session) message(channel string, payload *reply) {
	name, kind := channel, ""
	if prefix, ok := strings.CutSuffix(channel, s.id); ok && len(prefix) > 3 {
		name, kind = prefix[:len(prefix)-3], prefix[len(prefix)-3:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[name]
	if m == nil || payload.cut {
		return
	}
	switch {
	case kind == "":
		m.pingedWith(payload.text)
	case payload.text == messageWake:
		m.woken = true
		if m.attempt != nil {
			m.attempt.Wake()
		}
	case payload.text == messageWait:
		m.told = true
	case payload.text == messageNear:
		if m.queued {
			m.comeNear()
		}
	case kind == ":h:" && m.claiming && m.holder == "":
		if m.holder = holderIn(payload.text); m.holder != "" {
			close(m.answered)
		}
	}
}

// pingedWith answers a message on the lock's channel, if it is a ping and the
// session has a part in the lock. session.mu is held.
func (m *member) pingedWith(text string) {
	var p ping
	if (m.hold == nil && !m.claiming) || json.Unmarshal([]byte(text), &p) != nil {
		return
	}
	foreign, ok := m.mayAnswer(p.ResponseChannel)
	if !ok || p.ResponseChannel == m.holdChannel {
		return
	}
	m.pinged = m.pinged || foreign
	answer := pong{HolderID: m.session.id, Mode: "exclusive", Protocol: 1, Elected: true}
	if m.hold == nil {
		answer.Mode, answer.Elected = "pending", false
	}
	reply, _ := json.Marshal(answer) // cannot fail
	m.session.say(p.ResponseChannel, string(reply))
}

// mayAnswer reports whether a ping may be answered on channel: only on channels
// that belong to this lock, whatever the sender asks for. Those of portalocker
// are the lock's name and "-", and a random fraction or 32 hex digits.
func (m *member) mayAnswer(channel string) (foreign, ok bool) {
	rest, ok := strings.CutPrefix(channel, m.name)
	if !ok || len(rest) < 2 {
		return false, false
	}
	if rest[0] == '-' {
		rest = rest[1:]
		return true, isSessionID(rest) || isFraction(rest)
	}
	if len(rest) != len(":h:")+32 || rest[0] != ':' || rest[2] != ':' || (rest[1] != 'h' && rest[1] != 'w') {
		return false, false
	}
	return false, isSessionID(rest[3:])
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

// holderIn returns who says in an answer to a ping that it holds the lock, or "".
func holderIn(text string) string {
	var p pong
	if json.Unmarshal([]byte(text), &p) != nil {
		return unknownHolder // of the first generation: a number, or anything
	}
	switch {
	case p.Mode == "pending":
		return ""
	case isSessionID(p.HolderID):
		return p.HolderID
	default:
		return unknownHolder
	}
}
