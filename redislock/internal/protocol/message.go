package protocol

import (
	"encoding/json"
	"strconv"
	"strings"
)

// What is said on the channels of sessions. On the lock's own channel there are
// pings only: a holder that is a portalocker dies of anything else.
const (
	MessageWake  = "wake"  // to one who waits: claim now
	MessageWait  = "wait"  // to the holder: others wait
	MessageNear  = "near"  // to one who waits: it is the second in the queue
	MessageNext  = "next"  // to one who waits: it is the first
	MessageRenew = "renew" // to the holder: its hint is missing

	messageWon   = "won "   // and more, see claim.lua, to the one that stands by: it has the lock
	messageBreak = "break " // and a token, to the holder: the lock is taken from it
)

// ParseGiven parses the message that gives the lock to the session that stands by.
func ParseGiven(text string) (Won, bool) {
	if !strings.HasPrefix(text, messageWon) {
		return Won{}, false
	}
	w, err := parseWon(text)
	return w, err == nil
}

// NewBreak returns the message that takes the lock from the holder with a token: "" or "0",
// whichever it has.
func NewBreak(token string) string { return messageBreak + token }

// ParseBreak parses it: the tokens that it is about are those from first to last.
func ParseBreak(text string) (first, last uint64, ok bool) {
	token, ok := strings.CutPrefix(text, messageBreak)
	if !ok {
		return 0, 0, false
	}
	if token == "" || token == "0" { // the holder key was lost
		return 0, 1<<64 - 1, true
	}
	t, err := strconv.ParseUint(token, 10, 64)
	return t, t, err == nil
}

// A ping asks whoever holds or claims a lock to answer on ResponseChannel.
type ping struct {
	ResponseChannel string `json:"response_channel"`
	Message         string `json:"message,omitempty"`
}

// NewPing returns a ping that is to be answered on a channel.
func NewPing(channel string) string {
	text, _ := json.Marshal(ping{ResponseChannel: channel, Message: "ping"}) // of strings: cannot fail
	return string(text)
}

// ParsePing returns where a ping on the channel of a lock is to be answered, and of whom it
// is: only on channels that belong to this lock, whatever the sender asks for. Those of
// portalocker are the lock's name and "-", and a random fraction or, since version 4, 32 hex
// digits.
func ParsePing(channel, text string) (answerTo string, from Generation, ok bool) {
	var p ping
	if json.Unmarshal([]byte(text), &p) != nil {
		return "", Ours, false
	}
	answerTo = p.ResponseChannel
	rest, ok := strings.CutPrefix(answerTo, channel)
	switch {
	case !ok || len(rest) < 2:
		return "", Ours, false
	case rest[0] == '-' && IsSessionID(rest[1:]):
		return answerTo, LaterPortalocker, true
	case rest[0] == '-':
		return answerTo, FirstPortalocker, isFraction(rest[1:])
	}
	id := rest[min(len(onHold), len(rest)):]
	return answerTo, Ours, (strings.HasPrefix(rest, onHold) || strings.HasPrefix(rest, onWait)) && IsSessionID(id)
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

// A Pong answers a ping, in the form of portalocker 4.
type Pong struct {
	HolderID string   `json:"holder_id"`
	Mode     PongMode `json:"mode"`
	Protocol int      `json:"protocol"`
	Elected  bool     `json:"elected"`
	Ours     bool     `json:"ours,omitempty"` // only to a ping of this library
}

// A PongMode is what one who answers has to do with the lock.
type PongMode string

// The modes of a pong.
const (
	Exclusive PongMode = "exclusive" // it holds the lock
	Pending   PongMode = "pending"   // it claims it
)

// NewPong returns the answer of a session to a ping.
func NewPong(sid string, holds, ours bool) string {
	p := Pong{HolderID: sid, Mode: Pending, Protocol: 1, Ours: ours}
	if holds {
		p.Mode, p.Elected = Exclusive, true
	}
	text, _ := json.Marshal(p) // cannot fail
	return string(text)
}

// ParsePong parses an answer to a ping. HolderID is Foreign where it is that of no session,
// or where there is none: the first generation of portalocker answers a number, or anything.
func ParsePong(text string) Pong {
	var p Pong
	if json.Unmarshal([]byte(text), &p) != nil || !IsSessionID(p.HolderID) {
		p.HolderID = Foreign
	}
	return p
}
