package session

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// poll looks at the lock, without subscribing to it. It returns nil if it is free for the
// attempt.
// In protocol.pml, too: a change here asks for one there.
func (m *member) poll(ctx context.Context, a *locker.Attempt, why protocol.LookReason) (protocol.LookAnswer, error) {
	s := m.session
	var before []conn.Command
	if why == protocol.LookToJoin {
		s.mu.Lock()
		m.place.queued, m.place.waits = true, true // it may be, once this is on its way
		s.mu.Unlock()
		confirmed := make(chan answer, 1)
		before = append(before, s.conn.Subscribe(func(r resp.Value, err error) {
			s.insistOnWait(r, err)
			confirmed <- answer{err: err}
		}, m.waitChannel))
		if !s.fast {
			s.conn.Send(before...)
			before = nil
			if _, err := s.await(ctx, confirmed); err != nil {
				return protocol.LookAnswer{}, err
			}
		}
	}
	look := protocol.Look{Channel: m.channel, SID: s.id, Why: why}
	for ; ; before = nil {
		seen, err := m.look(ctx, look, before)
		switch {
		case err != nil:
			return protocol.LookAnswer{}, err
		case seen.Free && why == protocol.LookToJoin:
			s.mu.Lock()
			m.place.queued = false
			s.mu.Unlock()
			return seen, nil
		case seen.Free:
			return seen, nil
		}
		v := m.judge(ctx, seen.Obstacle)
		if !v.again {
			s.mu.Lock()
			seen.StandBy = seen.StandBy && m.mayStandBy()
			s.mu.Unlock()
			return seen, m.isHeld(a, seen.Place, max(v.after, seen.Left))
		}
		look.Evict = v.evict
	}
}

// look has the script look.
func (m *member) look(ctx context.Context, l protocol.Look, before []conn.Command) (protocol.LookAnswer, error) {
	s := m.session
	s.mu.Lock()
	m.suspect.beginPoll()
	s.mu.Unlock()
	answers := make(chan answer, 1)
	s.run(l.In(s.server.Scheme), answerTo(answers), before...)
	text, err := s.await(ctx, answers)
	if err == nil {
		return protocol.ParseLook(text)
	}
	if ctx.Err() != nil {
		// It may still queue up: what comes next has to wait for it.
		end := m.begin()
		s.env.Running.Go(func() {
			_, _ = s.await(context.Background(), answers)
			end()
		})
	}
	return protocol.LookAnswer{}, err
}

// seldom is how often one looks at the least who is far behind in the queue, unless its
// check interval is longer.
const seldom = 2 * time.Second

// isHeld is the outcome of an attempt on a lock that another holds. One who waits
// looks again after a while, or, if that is not 0, no later than after latest.
func (m *member) isHeld(a *locker.Attempt, place int, latest time.Duration) error {
	m.session.mu.Lock()
	m.place.queued = place > 0
	m.session.noteContended(m.channel)
	m.session.mu.Unlock()
	// The first two in the queue look every check interval; those behind them, the
	// more seldom the more there are, as far as that leaves a free lock to nobody for long.
	interval := min(a.CheckInterval*time.Duration(max(1, place-1)), max(a.CheckInterval, seldom))
	a.RetryAfter = time.Duration(float64(interval) * (0.85 + 0.15*rand.Float64())) //nolint:gosec // spreads load
	if latest > 0 {
		a.RetryAfter = min(a.RetryAfter, latest)
	}
	return locker.ErrAlreadyLocked
}
