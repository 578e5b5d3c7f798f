package locker

import (
	"context"
	"errors"
)

// What Acquires and locks do with the waitlists. Each of these locks their mutex; what
// they call in waitlist.go is called with it locked.

// join makes a waiter of an Acquire and puts it at the end of the waitlist of a
// name. It tells whether the waiter is the front, and fails where an Acquire
// that does not wait would have to. Where the driver grants every attempt, the first
// of a waitlist is made its holder at once.
func (ls *waitlists) join(ctx context.Context, s *scope, name string, o *options) (h holder, w *waiter, front bool, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if s.closed {
		return nil, nil, false, ErrClosed
	}
	l := ls.byName[name]
	if l == nil && ls.granted != nil {
		l = ls.add(name)
		h = ls.granted(l, s, *o)
		l.holdBy(h, s)
		s.active++
		return h, nil, false, nil
	}
	if l == nil {
		l = ls.add(name)
		w, front = &l.creator, true
		w.waited, w.traced = false, false
		l.front = w
		l.belongTo(s)
		l.prepare(o)
	} else {
		if l.state != stateBusy && !o.waits() {
			return nil, nil, false, l.outcome
		}
		w = &waiter{scope: s, turn: make(chan turn, 1), waited: l.state != stateBusy}
		l.push(w)
	}
	w.scope, w.list, w.options = s, l, *o
	w.ctx.parent, w.ctx.timeout = ctx, o.timeout
	s.active++
	return nil, w, front, nil
}

// grant makes h the holder of a waitlist, whose front, of scope s, had asked for it. It
// returns false if s was closed meanwhile.
func (ls *waitlists) grant(l *waitlist, s *scope, h holder) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.front, l.placed = nil, false
	if s.closed {
		l.belongTo(nil)
		s.active++ // h's, which will be released, besides the Acquire's
		return false
	}
	l.holdBy(h, s)
	return true
}

// pass makes next the holder after one of scope s, for the first in the queue. It
// returns false if there is none.
func (ls *waitlists) pass(l *waitlist, s *scope, next holder) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w := l.pop()
	if w == nil {
		return false
	}
	next.give(w.scope, w.options)
	l.holdBy(next, w.scope)
	w.scope.active++
	w.lock = next
	w.turn <- turnHeld
	s.exit()
	return true
}

// keep ends an Acquire of scope s, to which a lock was passed that is counted now. It
// returns false, and the Acquire goes on, if s was closed, which releases the lock.
func (ls *waitlists) keep(s *scope) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if s.closed {
		return false
	}
	s.exit()
	return true
}

// again prepares another attempt of w, the front of its waitlist.
func (ls *waitlists) again(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.list.prepare(&w.options)
}

// found records that an attempt of w, the front of its waitlist, ended with err.
func (ls *waitlists) found(w *waiter, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := w.list
	l.outcome = err
	if w.options.waits() && (w.waited || errors.Is(err, ErrAlreadyLocked)) {
		l.state, w.waited = stateWaiting, true
		l.refuse()
	}
}

// giveUp takes w, which has ended, out of its waitlist. It returns the lock if it
// was passed to w before, else what is known of the name.
func (ls *waitlists) giveUp(w *waiter) (holder, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := w.list
	outcome := l.outcome
	if l.front == w {
		l.placed = l.placed || w.options.waits() // also by an attempt that was cut short
		ls.advance(l, w.scope)
		return nil, outcome
	}
	select {
	case t := <-w.turn:
		if t == turnHeld {
			return w.lock, nil
		}
		return nil, outcome // refused, or closed: it is out of the waitlist
	default:
	}
	l.remove(w)
	return nil, outcome
}

// releasing takes the lock from its holder, whose release begins. It reports whether
// others wait.
func (ls *waitlists) releasing(l *waitlist) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.holder, l.state = nil, stateBusy
	l.belongTo(nil)
	return l.waiters.first != nil
}

// released ends the time of a holder of scope s; the next one goes on.
func (ls *waitlists) released(l *waitlist, s *scope) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.holder = nil
	ls.advance(l, s)
	s.exit()
}

// close marks s as closed, ends those of s who wait, and returns the locks of s, and whether
// no Base is left that is not being closed.
func (ls *waitlists) close(s *scope) (locks []holder, last bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	s.closed = true
	ls.open--
	if s.active == 0 {
		close(s.idle)
	}
	for e := s.fronts.first; e != nil; e = e.next {
		if l := e.of; l.front != nil {
			l.front.ctx.close()
		} else {
			locks = append(locks, l.holder)
		}
	}
	for e := s.waiters.first; e != nil; e = e.next {
		e.of.ctx.close()
	}
	return locks, ls.open == 0
}

// enter counts something more that Close of s waits for, until exit. It reports whether
// s is open: else nothing is counted.
func (ls *waitlists) enter(s *scope) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if s.closed {
		return false
	}
	s.active++
	return true
}

func (ls *waitlists) exit(s *scope) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	s.exit()
}

// share makes s the scope of another Base on the same waitlists as that of. It returns
// false, and s is closed, if of is closed.
func (ls *waitlists) share(of, s *scope) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if of.closed {
		s.closed = true
		close(s.idle)
		return false
	}
	ls.open++
	ls.users++
	return true
}

// left counts off a Base that has ended, and reports whether it was the last.
func (ls *waitlists) left() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.users--
	return ls.users == 0
}
