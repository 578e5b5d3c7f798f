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

// How a lock is left to portalocker's processes that wait for it, when it is released:
// not taken by this library's for yieldTime, in which each of them looks at it once,
// beginning no more often than every yieldEvery. (n-yield in the scripts) The one whose
// ping was the reason looks again just 250 ms after it: yieldTime has some time to spare,
// or that one would find the lock taken again each time. As several of them keep it from
// each other in that time, too, it takes two such times a second for each to have its
// turn once a second. On a busy machine (TestYield), the longest wait of one of them in
// 6 s was 1.0 s, in the mean of 24 tries, and 1.2 s for each of three; the longest of all
// was 3.0 s. Without this library, three made one of them wait for 3.3 s in 12 tries.
const (
	yieldTime  = 300 * time.Millisecond
	yieldEvery = 500 * time.Millisecond
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
