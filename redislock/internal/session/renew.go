package session

import (
	"math/rand/v2"
	"time"
)

// The keys of a lock expire when it was not used for an hour. Those of a lock that is held
// do not: its session has them last, and restores what is missing, which costs order or
// time, and, where the holder's connection is cut then, the time in which it hears of that
// before the next one has the lock. It does so seldom; at once when it finds that the data
// was flushed, as the heartbeat before was (see lease.go); and when a waiter asks it to,
// which has had an answer from it and found no hint. See lua/renew.lua.

// renewEvery is how often the keys of locks that are held are renewed: at most, so that
// not all processes of a fleet do so in one moment.
const renewEvery = 15 * time.Minute

// A renewal is the time for the keys of the session's locks.
type renewal struct{ due time.Time }

func (r *renewal) look(s *session, now time.Time) {
	if r.due.IsZero() || !now.Before(r.due) {
		if !r.due.IsZero() {
			s.renewKeys()
		}
		r.due = now.Add(renewEvery - rand.N(renewEvery/4)) //nolint:gosec // spreads load
	}
}

// renewKeys renews the keys of all locks that the session holds, one after another, so
// that it keeps neither the server nor its own connection.
func (s *session) renewKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewing > 0 || s.cause != nil {
		s.renewing = min(s.renewing+1, 2) // once more
		return
	}
	s.renewing = 1
	s.env.Running.Go(func() {
		for {
			s.mu.Lock()
			var held []*member
			for _, m := range s.members {
				if m.hold != nil {
					held = append(held, m)
				}
			}
			s.mu.Unlock()
			for _, m := range held {
				answers := make(chan answer, 1)
				if !m.renew(answerTo(answers)) {
					continue
				}
				_, err := s.await(s.env.Ctx, answers)
				if s.ended() != nil {
					return
				}
				if err != nil {
					s.env.Log.Debug("keys not renewed", "lock", m.name, "error", err)
				}
			}
			s.mu.Lock()
			s.renewing--
			again := s.renewing > 0 && s.cause == nil
			s.mu.Unlock()
			if !again {
				return
			}
		}
	})
}
