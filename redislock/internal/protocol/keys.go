// Package protocol is what sessions and Redis say to each other: the names of channels and
// keys, the messages, and the scripts, each with what it is called with and what it answers.
// It sends nothing. protocol.pml is a model of it.
package protocol

import "strings"

// A Scheme is how the locks of one Redis are called.
type Scheme struct {
	Sharded bool // in a Cluster: the channels are those of its shards
	Counter bool // portalocker's last token is kept as well
}

// Channel returns the channel of a lock. The other channels, and the keys, begin with it.
func (s Scheme) Channel(name string) string {
	if s.Sharded {
		return clusterChannel(name)
	}
	return name
}

// Name returns the name of the lock whose channel it is.
func (s Scheme) Name(channel string) (name string, ok bool) {
	if s.Sharded {
		return clusterName(channel)
	}
	return channel, true
}

// Publish returns the command that publishes a message.
func (s Scheme) Publish() string {
	if s.Sharded {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// What comes after the channel in the keys of a lock, see lua/common.lua.
const (
	KeyFence   = ":locker:fence"
	KeyHolder  = ":locker:holder"
	KeyQueue   = ":locker:queue"
	KeyYield   = ":locker:yield"
	KeyStandby = ":locker:standby"

	KeyCounter = "-fence" // portalocker's: see Scheme.Counter
)

// expiry is how many seconds a key is kept after its last use.
const expiry = "3600"

// Keys returns the keys of a lock. They are cut out of one string, and not kept: a session
// may hold thousands of locks.
func (s Scheme) Keys(channel string) []string { return s.appendKeys(nil, channel) }

func (s Scheme) appendKeys(keys []string, channel string) []string {
	all := channel + KeyFence + channel + KeyHolder + channel + KeyQueue + channel + KeyYield + channel + KeyStandby
	cut := func(suffix string) (key string) {
		key, all = all[:len(channel)+len(suffix)], all[len(channel)+len(suffix):]
		return key
	}
	keys = append(keys, cut(KeyFence), cut(KeyHolder), cut(KeyQueue), cut(KeyYield), cut(KeyStandby))
	if s.Counter {
		keys = append(keys, channel+KeyCounter)
	}
	return keys
}

// SessionChannel is the channel that is subscribed as long as a session lives, the key of
// its heartbeat, and the name of its connection, unless that is PortalockerName.
func SessionChannel(sid string) string { return "locker:session:" + sid }

// What a channel of a session in a lock is for.
const (
	onHold = ":h:" // it holds the lock, claims it, or stands by
	onWait = ":w:" // it waits
)

// HoldChannel is subscribed by a session that is on the channel of a lock.
func HoldChannel(channel, sid string) string { return channel + onHold + sid }

// WaitChannel is subscribed by a session that waits for a lock.
func WaitChannel(channel, sid string) string { return channel + onWait + sid }

// HoldAndWait returns both, cut out of one string.
func HoldAndWait(channel, sid string) (hold, wait string) {
	both := channel + onHold + sid + channel + onWait + sid
	return both[:len(both)/2], both[len(both)/2:]
}

// HoldChannels is the pattern of all hold channels of a lock.
func HoldChannels(channel string) string { return escapePattern(channel) + onHold + "*" }

// A Kind is what a channel is for, as Split says.
type Kind int

// The kinds of channels.
const (
	Lock Kind = iota // of the lock itself
	Hold
	Wait
)

// Split returns the channel of the lock that one of a session's channels belongs to, and
// what it is for.
func Split(channel, sid string) (lock string, kind Kind) {
	prefix, ok := strings.CutSuffix(channel, sid)
	if lock, found := strings.CutSuffix(prefix, onHold); ok && found && lock != "" {
		return lock, Hold
	}
	if lock, found := strings.CutSuffix(prefix, onWait); ok && found && lock != "" {
		return lock, Wait
	}
	return channel, Lock
}

// escapePattern escapes what a pattern of PUBSUB CHANNELS gives a meaning to.
func escapePattern(name string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`, "^", `\^`, "-", `\-`).Replace(name)
}

// IsSessionID reports whether s may be the id of a session, or of a process of portalocker.
func IsSessionID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}
