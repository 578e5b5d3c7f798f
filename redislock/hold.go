package redislock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
)

// A hold is a lock that the session holds.
// In protocol.pml, too: a change here asks for one there.
type hold struct {
	*member
	token uint64
	last  uint64    // of the tokens that are reserved
	first uint64    // of them
	won   time.Time // when that was
	until time.Time // how long the lock may be passed on inside the process

	lost func(error) // guarded by session.mu
	gone error       // guarded by session.mu: why it alone is lost, if it is
}

var (
	_ locker.Watcher       = (*hold)(nil)
	_ locker.Checker       = (*hold)(nil)
	_ locker.Passer        = (*hold)(nil)
	_ locker.AsyncReleaser = (*hold)(nil)
)

// Watch implements locker.Watcher.
func (h *hold) Watch(lost func(error)) {
	h.session.mu.Lock()
	cause := h.session.cause
	if cause == nil {
		cause = h.gone
	}
	h.lost = lost
	h.session.mu.Unlock()
	if cause != nil {
		lost(cause)
	}
}

// lose marks h as lost, and returns whom to tell, if that is known. session.mu is held.
func (h *hold) lose(cause error) func(error) {
	h.gone = cause
	lost := h.lost
	h.lost = nil
	return lost
}

var errBroken = errors.New("it was taken away by Break")

// brokenBy takes the lock from its holder, if that is the one with the token, or one that
// it was passed on to, of which the holder key does not tell; and if it is not just being
// released. It returns what is to be done without session.mu, which is
// held: the holder is told, and then others can have the lock. To them, and in
// protocol.pml, that is a release.
func (m *member) brokenBy(token string) (leave func()) {
	h := m.hold
	if m.standby != nil {
		m.attempt.Wake() // nobody holds it, perhaps: then this one does, when it has looked
	}
	if h == nil || m.busy {
		return nil
	}
	if t, err := strconv.ParseUint(token, 10, 64); token != "" && token != "0" && (err != nil || t < h.first || t > h.token) {
		return nil // "" and 0: the holder key was lost
	}
	lost := h.lose(errBroken)
	end := m.beginWith()
	return func() {
		if lost != nil {
			lost(errBroken)
		}
		m.unsubscribe(m.session.wire.send, nil, false, func(error) { end() })
	}
}

// broken returns why h alone was lost, or nil.
func (h *hold) broken() error {
	h.session.mu.Lock()
	defer h.session.mu.Unlock()
	return h.gone
}

// Check implements locker.Checker: it compares the clock with the lease, so that a
// process that was frozen is told the truth by the first call after it; and knows
// that the session has ended before the last of its many locks is told.
func (h *hold) Check() error {
	s := h.session
	if s.expired() {
		s.end(errLeaseOver)
	}
	select {
	case <-s.done:
		return s.ended()
	default:
		return nil
	}
}

// Pass implements locker.Passer: as long as nobody waits in another process, and
// for a bounded time, as a foreign waiter may not make itself known.
func (h *hold) Pass() (locker.Grant, bool) {
	s := h.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !h.mayGoOn(now) || !h.inTime(now) {
		return locker.Grant{}, false
	}
	h.lost = nil
	h.hold = h.next()
	return locker.Grant{Token: h.hold.token, Hold: h.hold}, true
}

// mayGoOn reports whether the lock may be held again by this process without another
// claim. session.mu is held.
func (h *hold) mayGoOn(now time.Time) bool {
	s := h.session
	return s.cause == nil && h.gone == nil && !s.expired() && !h.told && h.pinged == ours && now.Before(h.until) && h.token < h.last
}

// inTime reports whether the next token does not overtake the clock of the server, which
// the next one has when the fence key is lost.
func (h *hold) inTime(now time.Time) bool { return h.token-h.first < tokenBlock+h.age(now) }

// age is how many microseconds ago the lock was won.
func (h *hold) age(now time.Time) uint64 { return uint64(now.Sub(h.won).Microseconds()) } //nolint:gosec // it is not negative

// next returns the hold after h.
func (h *hold) next() *hold {
	return &hold{member: h.member, token: h.token + 1, last: h.last, first: h.first, won: h.won, until: h.until}
}

// StartRelease implements locker.AsyncReleaser. It reads the answer itself if that
// comes at once.
func (h *hold) StartRelease(done func(error)) {
	if gone := h.broken(); gone != nil {
		done(fmt.Errorf("%w: %w", locker.ErrLost, gone)) // it has left the channel, or does
		return
	}
	h.session.brief.Store(time.Since(h.won) < restTime)
	end := h.begin()
	var answered atomic.Bool
	wire := h.session.wire
	send := wire.send
	if h.session.fast {
		send = wire.sendQuietly
	}
	h.unsubscribe(send, nil, false, func(err error) {
		defer answered.Store(true)
		end()
		if errors.Is(err, errSessionEnded) {
			err = fmt.Errorf("%w: %w", locker.ErrLost, err)
		}
		done(err)
	})
	if h.session.fast {
		wire.help(answered.Load)
	}
}

// Release implements locker.Hold.
func (h *hold) Release(ctx context.Context) error {
	released := make(chan error, 1)
	h.StartRelease(func(err error) { released <- err })
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
