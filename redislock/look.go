package redislock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
)

// Why one looks at a lock before it claims it: a claim disturbs the others on the
// lock's channel. See look.lua.
const (
	lookToPoll = "poll"
	lookToJoin = "join"
	lookToAsk  = "ask"
)

// mustLook returns why the attempt has to look first, or "": one who waits and
// was not woken, and one who comes to a lock that others have waited for lately.
func (m *member) mustLook(a *locker.Attempt) (why string) {
	s := m.session
	s.mu.Lock()
	defer s.mu.Unlock()
	woken := m.woken
	m.woken = false
	switch {
	case m.queued && woken:
		return ""
	case m.queued:
		return lookToPoll
	case !s.contendedSince(m.channel, a.CheckInterval):
		return ""
	case a.Wait:
		return lookToJoin
	default:
		return lookToAsk
	}
}

// A sight is what a look has shown of a lock that is held.
type sight struct {
	place   int           // in the queue, from 1; 0: none
	about   whom          // who is in the way
	left    time.Duration // for how long the lock is left to portalocker, to the first two in the queue
	standby bool          // the first in the queue is to claim the lock all the same: to stand by
}

// look returns nil if the lock is free for the attempt.
// In protocol.pml, too: a change here asks for one there.
func (m *member) look(ctx context.Context, a *locker.Attempt, why string) (sight, error) {
	s := m.session
	var before []command
	if why == lookToJoin {
		s.mu.Lock()
		m.queued, m.waits = true, true // it may be, once this is on its way
		s.mu.Unlock()
		confirmed := make(chan answer, 1)
		before = append(before, s.wire.subscribe(func(r reply, err error) {
			s.insistOnWait(r, err)
			confirmed <- answer{err: err}
		}, m.waitChannel))
		if !s.fast {
			s.wire.send(before...)
			before = nil
			if _, err := s.await(ctx, confirmed); err != nil {
				return sight{}, err
			}
		}
	}
	for evict := ""; ; before = nil {
		s.mu.Lock()
		m.beginPoll()
		s.mu.Unlock()
		answers := make(chan answer, 1)
		s.run(before, lookScript, m.keys(),
			[]string{m.channel, s.id, expiry, why, pingText(m.waitChannel), evict}, answerTo(answers))
		text, err := s.await(ctx, answers)
		switch {
		case err != nil && ctx.Err() != nil:
			// It may still queue up: what comes next has to wait for it.
			end := m.begin()
			s.node.running.Go(func() {
				_, _ = s.await(context.Background(), answers)
				end()
			})
			return sight{}, err
		case err != nil:
			return sight{}, err
		case text == "free":
			if why == lookToJoin {
				s.mu.Lock()
				m.queued = false
				s.mu.Unlock()
			}
			return sight{}, nil
		}
		seen, err := parseHeld(text)
		if err != nil {
			return sight{}, err
		}
		v := m.judge(ctx, seen.about)
		if !v.again {
			s.mu.Lock()
			seen.standby = seen.standby && m.mayStandBy()
			s.mu.Unlock()
			return seen, m.held(a, seen.place, max(v.after, seen.left))
		}
		evict = v.evict
	}
}

// parseHeld parses "held PLACE" and what follows it: see look.lua.
func parseHeld(text string) (sight, error) {
	f := append(strings.Fields(text), "", "", "", "", "")
	place, err := strconv.Atoi(f[1])
	if err != nil || f[0] != "held" {
		return sight{}, fmt.Errorf("%w: %q from a script", errProtocol, text)
	}
	seen := sight{place: place, standby: strings.HasSuffix(text, " standby")}
	switch f[2] {
	case "yield":
		var us int64
		us, err = strconv.ParseInt(f[3], 10, 64)
		if place <= 2 {
			seen.left = time.Duration(us) * time.Microsecond
		}
	case roleUnknown:
		seen.about = whom{role: f[2]}
		seen.about.receivers, err = strconv.Atoi(f[3])
	case roleHead:
		seen.about = whom{role: f[2], sid: f[3]}
	case roleHolder:
		seen.about = whom{role: f[2], sid: f[3], token: f[4], client: f[5]}
		var us int64
		us, err = strconv.ParseInt(f[6], 10, 64)
		seen.about.timeout = time.Duration(us) * time.Microsecond
	}
	if err != nil {
		return sight{}, fmt.Errorf("%w: %q from a script", errProtocol, text)
	}
	return seen, nil
}

// seldom is how often one looks at the least who is far behind in the queue, unless its
// check interval is longer.
const seldom = 2 * time.Second

// held is the outcome of an attempt on a lock that another holds. One who waits
// looks again after a while, or, if that is not 0, no later than after latest.
func (m *member) held(a *locker.Attempt, place int, latest time.Duration) error {
	m.session.mu.Lock()
	m.queued = place > 0
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
