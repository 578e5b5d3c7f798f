package session

import (
	"errors"
	"time"

	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
)

// connectionName returns the name of the connection of a session. With
// PortalockerNames it is the one that portalocker would give it, by which its
// processes find the connection of one who hangs. Where a connection cannot have that
// name, portalocker cannot lock: then it is the usual one.
func connectionName(e *server.Env, id, lock string) string {
	if !e.Options.PortalockerNames || !protocol.CanBePortalockerName(lock) {
		return protocol.SessionChannel(id)
	}
	return protocol.PortalockerName(lock, id)
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
	if len(s.members) > 0 || len(s.memory.held) > 0 && u.forgot {
		*u = unused{since: now}
	}
	switch {
	case now.Sub(u.since) < s.env.Options.UnavailableTimeout:
		s.mu.Unlock()
	case !u.forgot:
		u.forgot = true
		s.mu.Unlock()
		s.env.Running.Go(s.forget)
	default:
		s.endWith(errUnused)
	}
}
