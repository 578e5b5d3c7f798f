package session

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// What happens to a lock in the middle of something else. Another lock of the session shows
// that it goes on.

// oneThatStandsBy returns the part in lock n of a session that stands by for it, and that
// holds another lock.
func oneThatStandsBy(t *testing.T) (*member, *locker.Attempt, locker.Lock) {
	t.Helper()
	user := redistest.Start(t).Client(nil).Options()
	holder, _ := openWith(t, user, calm)
	if _, err := holder.Acquire(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	l, d := openWith(t, user, calm)
	other, err := l.Acquire(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	a := &locker.Attempt{Name: "n", Wait: true, CheckInterval: time.Hour}
	if _, err := d.Pool.Try(t.Context(), a); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Fatal(err)
	}
	s := d.session(t, "n")
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members["n"]
	if m.phase != standing {
		t.Fatalf("it is %v", m.phase)
	}
	return m, a, other
}

// isThere fails if the session of a lock has ended.
func isThere(t *testing.T, lock locker.Lock) {
	t.Helper()
	if err := lock.Release(t.Context()); err != nil {
		t.Errorf("the other lock of the session: %v", err)
	}
}

// A lock whose slot moves when it was just given is not held.
func TestGiftWhoseSlotMoves(t *testing.T) {
	t.Parallel()
	m, _, other := oneThatStandsBy(t)
	s, gift := m.session, protocol.Won{Token: 1 << 60}
	s.mu.Lock()
	c := m.claim // as an attempt has it
	m.isGiven(gift)
	s.mu.Unlock()
	s.gone("n")
	if c.gift.won != nil {
		t.Error("it is there to be taken")
	}
	if g, err := c.won(t.Context(), gift); !errors.Is(err, errSlotMoved) {
		t.Errorf("who has taken it before: %+v, %v", g, err)
	}
	isThere(t, other)
}

// One who was given the lock while its claim was on its way, and is answered that another
// holds it, passes it on.
func TestGiftThatIsNotFound(t *testing.T) {
	t.Parallel()
	m, a, other := oneThatStandsBy(t)
	s, c := m.session, m.newClaim(a)
	s.mu.Lock()
	m.isGiven(protocol.Won{Token: 1 << 60})
	s.mu.Unlock()
	c.takeAnswer("held 2", nil)
	m.stepBack(true)
	s.mu.Lock()
	woken := m.place.woken
	s.mu.Unlock()
	if !woken {
		t.Error("it is passed on to nobody")
	}
	isThere(t, other)
}

// A lock is left once, when it is broken and released at once.
func TestBreakAndRelease(t *testing.T) {
	t.Parallel()
	l, d := openWith(t, redistest.Start(t).Client(nil).Options(), calm)
	other, err := l.Acquire(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	s := d.session(t, "n")
	for _, breakFirst := range []bool{true, false} {
		a := &locker.Attempt{Name: "n", Wait: true, CheckInterval: time.Hour}
		g, err := d.Pool.Try(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		h := g.Hold.(*hold)
		released := make(chan error, 1)
		release := func() { h.StartRelease(func(err error) { released <- err }) }
		if !breakFirst {
			release()
		}
		s.mu.Lock()
		leave := h.member.brokenBy(0, math.MaxUint64)
		s.mu.Unlock()
		if breakFirst {
			release()
		}
		if (leave != nil) != breakFirst {
			t.Errorf("the break comes first: %v, and has the lock left: %v", breakFirst, leave != nil)
		}
		if leave != nil {
			leave()
		}
		if err := <-released; errors.Is(err, locker.ErrLost) != breakFirst {
			t.Errorf("the break comes first: %v; released: %v", breakFirst, err)
		}
	}
	isThere(t, other)
}

// So it is when it is broken while the winner settles, and gives up.
func TestBreakWhileSettling(t *testing.T) {
	t.Parallel()
	l, d := openWith(t, redistest.Start(t).Client(nil).Options(), calm)
	other, err := l.Acquire(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	s := d.session(t, "n")
	a := &locker.Attempt{Name: "n", Wait: true, CheckInterval: time.Hour}
	m, p, err := s.plan(t.Context(), a, "n")
	if err != nil {
		t.Fatal(err)
	}
	p.claim.subscribe()
	s.conn.Resume()
	answer := <-p.claim.answers
	if answer.Outcome != protocol.OutcomeWon {
		t.Fatal(answer)
	}
	answer.Won.Settle = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := p.claim.won(ctx, answer.Won)
		ended <- err
	}()
	var leave func()
	for leave == nil {
		s.mu.Lock()
		leave = m.brokenBy(0, math.MaxUint64)
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	leave()
	cancel()
	if err := <-ended; !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Errorf("the Acquire: %v", err)
	}
	isThere(t, other)
}

// A claim that has waited for long, in line for others, is no proof of a lease that is over:
// a heartbeat is, and the session goes on.
func TestClaimThatHasWaited(t *testing.T) {
	t.Parallel()
	for _, version := range []int{3, 2} {
		user := redistest.Start(t).Client(func(o *redis.Options) { o.Protocol = version }).Options()
		l, d := openWith(t, user, calm)
		other, err := l.Acquire(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		s := d.session(t, "n")
		if err := other.Release(t.Context()); err != nil { // no lock has a lease
			t.Fatal(err)
		}
		a := &locker.Attempt{Name: "n", Wait: true, CheckInterval: time.Hour}
		_, p, err := s.plan(t.Context(), a, "n")
		if err != nil {
			t.Fatal(err)
		}
		p.claim.terms.sent = time.Now().Add(-s.env.Options.Lease() - 100*time.Microsecond) // since when the session was there
		g, err := p.claim.make(t.Context(), a)
		if err != nil {
			t.Fatalf("RESP%d: %v", version, err)
		}
		if err := g.Hold.(*hold).Check(); err != nil {
			t.Errorf("RESP%d: %v", version, err)
		}
		if err := g.Hold.Release(t.Context()); err != nil {
			t.Errorf("RESP%d: %v", version, err)
		}
	}
}
