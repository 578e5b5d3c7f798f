package redislock

import (
	"errors"
	"strings"
	"time"
)

// What is done for processes that lock with portalocker (Python) on the same Redis.
// Their lock is a subscription, too. They do not queue, but look at the lock every
// check interval, 250 ms by default, ask who is there, and disconnect those who do
// not answer, if their connection has the name that portalocker gives it.
// There are answers to them in message.go, and hung ones are found in hung.go.

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

// A generation is of whom a ping is. Its response channel tells.
type generation int

const (
	ours  generation = iota // this library
	first                   // portalocker 2 and 3
	later                   // portalocker 4
)

// connectionName returns the name of the connection of a session. With
// PortalockerNames it is the one that portalocker would give it, by which its
// processes find the connection of one who hangs. Where a connection cannot have that
// name, portalocker cannot lock: then it is the usual one.
func (n *node) connectionName(id, link string) string {
	if !n.options.PortalockerNames || strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return sessionName(id)
	}
	return portalockerName(link, id)
}

// portalockerName is how portalocker calls the connection of a lock since version 4,
// with the holder's id. Before that it was without one.
func portalockerName(lock, id string) string { return lock + "-lock-" + id }

// isPortalocker reports whether portalocker calls the connection of a lock so.
func isPortalocker(client, lock string) bool {
	rest, ok := strings.CutPrefix(client, lock+"-lock")
	return ok && (rest == "" || rest[0] == '-' && isSessionID(rest[1:]))
}

var errUnused = errors.New("no longer used")

// An unused is since when a session has had nothing to do. With PortalockerNames,
// each lock has one: it is ended then.
type unused struct {
	since  time.Time
	forgot bool // its hints are deleted
}

// look takes note of whether the session has anything to do. It deletes its hints
// first, or the next holder would wait for it to hear of its end.
func (u *unused) look(s *session, now time.Time) {
	s.mu.Lock()
	if len(s.members) > 0 || len(s.recent) > 0 && u.forgot {
		*u = unused{since: now}
	}
	switch {
	case now.Sub(u.since) < s.node.options.UnavailableTimeout:
		s.mu.Unlock()
	case !u.forgot:
		u.forgot = true
		s.mu.Unlock()
		s.node.running.Go(s.forget)
	default:
		s.endWith(errUnused)
	}
}
