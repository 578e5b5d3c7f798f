package protocol

import "strings"

// What is done for processes that lock with portalocker (Python) on the same Redis.
// Their lock is a subscription, too. They do not queue, but look at the lock every
// check interval, 250 ms by default, ask who is there, and disconnect those who do
// not answer, if their connection has the name that portalocker gives it.
// Their messages are in message.go; package session answers them, and finds hung ones.

// When a lock is released that portalocker's processes have asked for, it is left to them:
// for some time, no session of this library takes it, or is on its channel. (the yield key in
// the scripts, leave_to_portalocker in common.lua) How long depends on the generation.
//
// The first looks every 250 ms whether nobody is there: 300 ms, twice a second at most. The
// one whose ping was the reason looks again just 250 ms after it: there is some time to
// spare, or that one would find the lock taken again each time. As several of them keep it
// from each other in that time, too, it takes two such times a second for each to have its
// turn once a second. On a busy machine (TestYield), the longest wait of one of them in
// 6 s was 1.0 s, in the mean of 24 tries, and 1.2 s for each of three; the longest of all
// was 3.0 s. Without this library, three made one of them wait for 3.3 s in 12 tries.
//
// Version 4 subscribes first, and asks then. It waits for an answer from as many as it has
// counted, up to 1.25 s if one of them has left meanwhile; and when the number of
// subscribers has changed by the end, as at each hand-over, it has learned nothing. It
// leaves, and subscribes again after up to 0.4 s: up to 1.9 s after its ping, it finds the
// lock free if nobody of this library is there. So it is 2 s, every 4 s at most. As it asks
// less than once a second, and often when nobody who holds the lock is there to hear it:
//   - That one has asked is remembered (in the yield key) until it is time again.
//   - A claim that meets one, and gives way, has been asked, too: by its ping, or by an
//     answer to that of the claim.
//
// Beside two processes of this library that held the lock for 0.2 s each, 4.1.0 got it in
// 80 of 80 tries, in 1.1 s in the mean and 4.1 s at the most, and in 40 of 40 shared ones.

// A Generation is of whom a ping is. Its response channel tells.
type Generation int

// The generations: those of portalocker differ in how they take a lock.
const (
	Ours             Generation = iota // this library
	FirstPortalocker                   // portalocker 2 and 3
	LaterPortalocker                   // portalocker 4
)

// String returns the word that lua/release.lua has for g.
func (g Generation) String() string {
	switch g {
	case FirstPortalocker:
		return "first"
	case LaterPortalocker:
		return "later"
	}
	return "none"
}

// CanBePortalockerName reports whether a connection can have the name that portalocker gives
// to that of a lock.
func CanBePortalockerName(lock string) bool {
	return !strings.ContainsFunc(lock, func(r rune) bool { return r <= ' ' || r > '~' })
}

// PortalockerName is how portalocker calls the connection of a lock since version 4,
// with the holder's id. Before that it was without one.
func PortalockerName(lock, id string) string { return lock + "-lock-" + id }

// IsPortalocker reports whether portalocker calls the connection of a lock so.
func IsPortalocker(client, lock string) bool {
	rest, ok := strings.CutPrefix(client, lock+"-lock")
	return ok && (rest == "" || rest[0] == '-' && IsSessionID(rest[1:]))
}

// IsSession reports whether the connection of session id is called so.
func IsSession(client, id, lock string) bool {
	return client == SessionChannel(id) || client == PortalockerName(lock, id)
}

// Answerer returns by which id the one answers pings about a lock whose connection is called
// so: Foreign where portalocker has given it none.
func Answerer(client, lock string) string {
	if client == lock+"-lock" {
		return Foreign
	}
	return IDIn(client)
}

// IDIn returns the id of a session, or of a holder of portalocker, at the end of the
// name of a connection, or "".
func IDIn(name string) string {
	if id := name[max(0, len(name)-32):]; IsSessionID(id) {
		return id
	}
	return ""
}
