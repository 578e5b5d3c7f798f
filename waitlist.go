package locker

import (
	"context"
	"log/slog"
	"sync"
)

// waitlists are the Acquires and the locks of one process by name, first come first
// served: only the front of a waitlist takes part in the Driver.
type waitlists struct {
	driver  Driver
	queue   Queue                                         // the driver, if it is one
	granted func(l *waitlist, s *scope, o options) holder // makes a lock of a grant, if the driver is a Granter
	losses  serial                                        // what is to be done for locks that were lost

	mu     sync.Mutex // guards what follows, all waitlists, and the counters of every scope
	byName map[string]*waitlist
	spare  *waitlist // a few to use again
	spares int
	open   int // how many Bases use the driver, and are not being closed
	users  int // and those that are
}

const maxSpares = 64

// A scope is what was acquired through one Base. Close ends that, and waits until
// nothing is left.
type scope struct {
	lists   *waitlists
	backend string
	log     *slog.Logger // nil: nowhere

	// Guarded by lists.mu.
	closed  bool
	active  int             // Acquires, held locks, releases, leaves and checks that have not ended
	idle    chan struct{}   // closed when closed and active == 0
	fronts  list[*waitlist] // whose front or holder is of this scope
	waiters list[*waiter]   // who wait behind, in any waitlist
}

// A waitlist is there as long as its name is in use.
type waitlist struct {
	name    string
	state   waitState
	holder  holder             // while stateHeld
	front   *waiter            // who makes the attempts; nil while held, releasing or leaving
	owner   *scope             // of the front or the holder, in whose fronts this is
	waiters list[*waiter]      // who wait behind, in order of arrival
	attempt Attempt            // of the front
	creator waiter             // the one that made the waitlist
	placed  bool               // someone who waits has given up: the driver may keep a place
	outcome error              // of the latest attempt: nil before the first has ended
	own     element[*waitlist] // of the owner's fronts
	spare   *waitlist
}

type waitState int

const (
	stateBusy    waitState = iota // a first attempt, a release or a leave is under way
	stateWaiting                  // the front waits for another process
	stateHeld
)

// A holder is a lock, of which a waitlist knows no more.
type holder interface {
	// give makes the lock that of a caller of s, before anyone has it. mu is held.
	give(s *scope, o options)
}

// A waiter is one Acquire that has not ended.
type waiter struct {
	ctx     patience
	scope   *scope
	list    *waitlist
	options options
	traced  bool // its Trace knows that it waits; for its own goroutine alone

	// Guarded by the mutex of the waitlists.
	place   element[*waiter] // of the waitlist's waiters
	own     element[*waiter] // of the scope's waiters
	turn    chan turn        // made when the waiter joins a queue; holds one
	lock    holder           // with turnHeld
	refused error            // with turnRefused: why
	waited  bool             // past the first attempt: an outage is waited out
}

// A turn is what a waiter in a waitlist is told.
type turn int

const (
	turnFront   turn = iota + 1 // it is the front: it may attempt
	turnHeld                    // the lock was passed to it
	turnRefused                 // the lock is not to be had now, and it does not wait
	turnClosed                  // its Locker was closed
)

func newWaitlists(d Driver) *waitlists {
	queue, _ := d.(Queue)
	return &waitlists{driver: d, queue: queue, byName: make(map[string]*waitlist), open: 1, users: 1}
}

// add makes a waitlist for a name. mu is held.
func (ls *waitlists) add(name string) *waitlist {
	l := ls.spare
	if l == nil {
		l = &waitlist{attempt: Attempt{wake: make(chan struct{}, 1)}}
		l.own.of = l
	} else {
		ls.spare, l.spare = l.spare, nil
		ls.spares--
	}
	l.name, l.attempt.Name = name, name
	l.state, l.outcome = stateBusy, nil
	ls.byName[name] = l
	return l
}

// drop removes a waitlist that nobody uses. mu is held.
func (ls *waitlists) drop(l *waitlist) {
	delete(ls.byName, l.name)
	// A context that was made of the creator may be in use for longer.
	if ls.spares < maxSpares && l.creator.ctx.made.Load() == nil {
		l.name, l.attempt.Name = "", ""
		l.creator.ctx.parent = nil
		l.spare, ls.spare = ls.spare, l
		ls.spares++
	}
}

// holdBy makes h, of scope s, the holder, and ends those who do not wait. mu is held.
func (l *waitlist) holdBy(h holder, s *scope) {
	l.state, l.holder = stateHeld, h
	l.belongTo(s)
	l.outcome = ErrAlreadyLocked
	l.refuse()
}

// prepare sets what the next attempt of l is to do. mu is held, and no attempt is
// under way.
func (l *waitlist) prepare(o *options) {
	a := &l.attempt
	a.Wait, a.CheckInterval, a.Behind, a.RetryAfter = o.waits(), o.checkInterval, l.waiters.len, 0
	if len(a.wake) > 0 {
		<-a.wake // it asks for the attempt that comes now, or was meant for one before
	}
}

// refuse ends those who do not wait, in a waitlist that has to: the lock is held, or the
// backend is away. All who have waited by then are before those who have come since, so
// that each is looked at once. mu is held.
func (l *waitlist) refuse() {
	for e := l.waiters.last; e != nil && !e.of.waited; e = e.prev {
		w := e.of
		if w.options.waits() {
			w.waited = true
			continue
		}
		l.remove(w)
		w.refused = l.outcome
		w.turn <- turnRefused
	}
}

// advance makes the next one the front of l, after someone of scope s has gone.
// mu is held.
func (ls *waitlists) advance(l *waitlist, s *scope) {
	l.front = l.pop()
	switch {
	case l.front != nil:
		if l.state != stateWaiting {
			l.state = stateBusy
		}
		l.prepare(&l.front.options)
		l.belongTo(l.front.scope)
		l.front.turn <- turnFront
	case l.placed && ls.queue != nil:
		l.state, l.placed = stateBusy, false
		l.belongTo(nil)
		s.active++
		go ls.leave(l, s)
	default:
		l.placed = false
		l.belongTo(nil)
		ls.drop(l)
	}
}

// leave gives up the driver's place, and goes on with those who came meanwhile.
func (ls *waitlists) leave(l *waitlist, s *scope) {
	ls.queue.Leave(context.Background(), l.name)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.advance(l, s)
	s.exit()
}

// exit counts something less that Close of s waits for. lists.mu is held.
func (s *scope) exit() {
	s.active--
	if s.closed && s.active == 0 {
		close(s.idle)
	}
}

// push puts w at the end of the queue. mu is held.
func (l *waitlist) push(w *waiter) {
	w.place.of, w.own.of = w, w
	l.waiters.push(&w.place)
	w.scope.waiters.push(&w.own)
}

// pop takes the first one out of the queue. mu is held.
func (l *waitlist) pop() *waiter {
	for e := l.waiters.first; e != nil; e = l.waiters.first {
		l.remove(e.of)
		if !e.of.scope.closed {
			return e.of
		}
		e.of.turn <- turnClosed
	}
	return nil
}

// remove takes w out of the queue, and leaves the links of its place as they are. mu is
// held.
func (l *waitlist) remove(w *waiter) {
	l.waiters.remove(&w.place)
	w.scope.waiters.remove(&w.own)
}

// belongTo makes s, or nobody if it is nil, the scope of the front or the holder of l.
// mu is held.
func (l *waitlist) belongTo(s *scope) {
	if l.owner == s {
		return
	}
	if l.owner != nil {
		l.owner.fronts.remove(&l.own)
	}
	if s != nil {
		s.fronts.push(&l.own)
	}
	l.owner = s
}
