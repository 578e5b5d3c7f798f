package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/resp"
)

// watch sends heartbeats while the session holds locks, and ends it when its lease
// has run out, or when the server does not answer: a command within the read
// timeout of the client, or a PING on an idle session within the unavailable
// timeout.
func (s *session) watch() {
	every := s.env.Options.UnavailableTimeout / 8
	if s.server.Moving {
		every *= 2
	}
	every = max(min(every, s.env.Options.HealthCheckInterval/4), time.Millisecond)
	timer := time.NewTimer(every)
	defer timer.Stop()
	silence, unused, renewal := silence{since: time.Now()}, unused{since: time.Now()}, renewal{}
	for next := time.Now().Add(every); ; {
		var now time.Time
		select {
		case <-s.done:
			s.unlink(s)
			return
		case now = <-timer.C:
		}
		if s.expired() {
			s.end(errLeaseOver)
			continue
		}
		if s.env.Options.PortalockerNames {
			unused.look(s, now)
		}
		if !now.Before(next) {
			next = now.Add(every)
			s.beat()
			silence.look(s, now)
			renewal.look(s, now)
		}
		wait := time.Until(next)
		if until := s.until.Load(); until != 0 {
			wait = min(wait, time.Duration(until)-time.Since(s.opened))
		}
		timer.Reset(max(wait, 0))
	}
}

// A silence is how long nothing has come from the server.
type silence struct {
	heard      uint64
	since      time.Time
	pinged     time.Time // since when a PING was seen to have no answer
	unanswered time.Time // since when other commands were
}

func (q *silence) look(s *session, now time.Time) {
	if h := s.conn.Heard(); h != q.heard {
		*q = silence{heard: h, since: now}
		return
	}
	if q.unanswered.IsZero() && s.conn.Unanswered() > 0 {
		q.unanswered = now
	}
	switch {
	case !q.pinged.IsZero() && now.Sub(q.pinged) >= s.env.Options.UnavailableTimeout,
		!q.unanswered.IsZero() && now.Sub(q.unanswered) >= dial.Limit(s.server.User.ReadTimeout):
		s.end(fmt.Errorf("%w, for %v", errSilent, now.Sub(q.since).Round(time.Millisecond)))
	case q.pinged.IsZero() && q.unanswered.IsZero() && now.Sub(q.since) >= s.env.Options.HealthCheckInterval:
		q.pinged = now
		s.conn.Send(conn.Command{Words: []string{"PING"}, Done: func(_ resp.Value, err error) {
			if errors.As(err, new(resp.Error)) {
				s.env.Log.Debug("PING denied, which is an answer too", "session", s.id, "error", err)
			}
		}})
	}
}
