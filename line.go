package locker

import (
	"context"
	"errors"
	"sync"
)

// lines are the Acquires and the locks of one process by name, first come first
// served: only the front of a line takes part in the Driver.
type lines struct {
	driver  Driver
	granter Granter // the driver, if it is one
	queue   Queue   // the driver, if it is one

	mu     sync.Mutex // guards what follows, all lines, and the counters of every Base
	byName map[string]*line
	spare  *line // a few lines to use again
	spares int
	open   int    // how many Bases use the driver
	lost   []loss // whose line is to be gone on with
}

const maxSpares = 64

// A loss is a lock that was lost, and why.
type loss struct {
	held *held
	err  error
}

// A line is there as long as its name is in use.
type line struct {
	name    string
	state   lineState
	holder  *held   // while stateHeld
	front   *waiter // who makes the attempts; nil while held, releasing or leaving
	first   *waiter // who waits behind, in order of arrival
	last    *waiter
	behind  int
	attempt Attempt // of the front
	creator waiter  // the one that made the line
	placed  bool    // someone who waits has given up: the driver may keep a place
	outcome error   // of the latest attempt: nil before the first has ended
	spare   *line
}

type lineState int

const (
	stateBusy    lineState = iota // a first attempt, a release or a leave is under way
	stateWaiting                  // the front waits for another process
	stateHeld
)

func newLines(d Driver) *lines {
	granter, _ := d.(Granter)
	queue, _ := d.(Queue)
	return &lines{driver: d, granter: granter, queue: queue, byName: make(map[string]*line), open: 1}
}

// join makes a waiter of an Acquire and puts it at the end of the line of a
// name. It tells whether the waiter is the front, and fails where an Acquire
// that does not wait would have to. Where the driver grants every attempt, the first
// of a line is made its holder at once.
func (ls *lines) join(ctx context.Context, b *Base, name string, o *options) (h *held, w *waiter, front bool, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if b.closed {
		return nil, nil, false, ErrClosed
	}
	l := ls.byName[name]
	if l == nil && ls.granter != nil {
		h = newHeld(ls.add(name), b, o, ls.granter.Grant(name))
		h.line.holdBy(h)
		b.active++
		return h, nil, false, nil
	}
	if l == nil {
		l = ls.add(name)
		w, front = &l.creator, true
		w.waited, w.traced = false, false
		l.front = w
		l.prepare(o)
	} else {
		if l.state != stateBusy && !o.waits() {
			return nil, nil, false, l.outcome
		}
		w = &waiter{turn: make(chan turn, 1), waited: l.state != stateBusy}
		l.push(w)
	}
	w.base, w.line, w.parent, w.options = b, l, ctx, *o
	b.active++
	return nil, w, front, nil
}

// add makes a line for a name. mu is held.
func (ls *lines) add(name string) *line {
	l := ls.spare
	if l == nil {
		l = &line{attempt: Attempt{wake: make(chan struct{}, 1)}}
	} else {
		ls.spare, l.spare = l.spare, nil
		ls.spares--
	}
	l.name, l.attempt.Name = name, name
	l.state, l.outcome = stateBusy, nil
	ls.byName[name] = l
	return l
}

// drop removes a line that nobody uses. mu is held.
func (ls *lines) drop(l *line) {
	delete(ls.byName, l.name)
	// A context that was made of the creator may be in use for longer.
	if ls.spares < maxSpares && l.creator.patient.Load() == nil {
		l.name, l.attempt.Name = "", ""
		l.creator.parent = nil
		l.spare, ls.spare = ls.spare, l
		ls.spares++
	}
}

// grant makes h the holder of its line, whose front had asked for it. It returns false
// if the Base of the front was closed meanwhile.
func (ls *lines) grant(h *held) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := h.line
	l.front, l.placed = nil, false
	if h.base.closed {
		h.base.active++ // h's, which will be released, besides the Acquire's
		return false
	}
	l.holdBy(h)
	return true
}

// pass makes next the holder after h, for the first in the queue. It returns
// false if there is none.
func (ls *lines) pass(h, next *held) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := h.line
	w := l.pop()
	if w == nil {
		return false
	}
	next.give(w.base, &w.options)
	l.holdBy(next)
	next.base.active++
	w.lock = next
	w.turn <- turnHeld
	h.base.ended()
	return true
}

// holdBy makes h the holder, and ends those who do not wait. mu is held.
func (l *line) holdBy(h *held) {
	l.state, l.holder = stateHeld, h
	l.outcome = ErrAlreadyLocked
	l.refuse()
}

// prepare sets what the next attempt of l is to do. mu is held, and no attempt is
// under way.
func (l *line) prepare(o *options) {
	a := &l.attempt
	a.Wait, a.CheckInterval, a.Behind, a.RetryAfter = o.waits(), o.checkInterval, l.behind, 0
	if len(a.wake) > 0 {
		<-a.wake // it asks for the attempt that comes now, or was meant for one before
	}
}

// again prepares another attempt of w, the front of its line.
func (ls *lines) again(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.line.prepare(&w.options)
}

// found records that an attempt of w, the front of its line, ended with err.
func (ls *lines) found(w *waiter, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := w.line
	l.outcome = err
	if w.options.waits() && (w.waited || errors.Is(err, ErrAlreadyLocked)) {
		l.state, w.waited = stateWaiting, true
		l.refuse()
	}
}

// refuse ends those who do not wait, in a line that has to: the lock is held, or the
// backend is away. All who have waited by then are before those who have come since, so
// that each is looked at once. mu is held.
func (l *line) refuse() {
	for w := l.last; w != nil && !w.waited; w = w.prev {
		if w.options.waits() {
			w.waited = true
			continue
		}
		l.remove(w)
		w.refused = l.outcome
		w.turn <- turnRefused
	}
}

// giveUp takes w, which has ended, out of its line. It returns the lock if it
// was passed to w before, else what is known of the name.
func (ls *lines) giveUp(w *waiter) (*held, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := w.line
	outcome := l.outcome
	if l.front == w {
		l.placed = l.placed || w.options.waits() // also by an attempt that was cut short
		ls.advance(l, w.base)
		return nil, outcome
	}
	select {
	case t := <-w.turn:
		if t == turnHeld {
			return w.lock, nil
		}
		return nil, outcome // refused, or closed: it is out of the line
	default:
	}
	l.remove(w)
	return nil, outcome
}

// releasing takes the lock from h, whose release begins. It reports whether
// others wait in the line.
func (ls *lines) releasing(h *held) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	h.line.holder, h.line.state = nil, stateBusy
	return h.line.first != nil
}

// released ends h's time in its line, which the next one goes on with.
func (ls *lines) released(h *held) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	h.line.holder = nil
	ls.advance(h.line, h.base)
	h.base.ended()
}

// advance makes the next one the front of l, after someone of base b has gone.
// mu is held.
func (ls *lines) advance(l *line, b *Base) {
	l.front = l.pop()
	switch {
	case l.front != nil:
		if l.state != stateWaiting {
			l.state = stateBusy
		}
		l.prepare(&l.front.options)
		l.front.turn <- turnFront
	case l.placed && ls.queue != nil:
		l.state, l.placed = stateBusy, false
		b.active++
		go ls.leave(l, b)
	default:
		l.placed = false
		ls.drop(l)
	}
}

// leave gives up the driver's place, and goes on with those who came meanwhile.
func (ls *lines) leave(l *line, b *Base) {
	ls.queue.Leave(context.Background(), l.name)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.advance(l, b)
	b.ended()
}

// close marks b as closed, ends those of b who wait, and returns the locks that
// b holds.
func (ls *lines) close(b *Base) (locks []*held) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	b.closed = true
	if b.active == 0 {
		close(b.idle)
	}
	for _, l := range ls.byName {
		if l.holder != nil && l.holder.base == b {
			locks = append(locks, l.holder)
		}
		if l.front != nil && l.front.base == b {
			l.front.close()
		}
		for w := l.first; w != nil; w = w.next {
			if w.base == b {
				w.close()
			}
		}
	}
	return locks
}

// checking counts a timer that looks for a loss, until checked: Close waits for it.
func (ls *lines) checking(b *Base) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	b.active++
}

func (ls *lines) checked(b *Base) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	b.ended()
}

// left counts off a Base that has ended, and reports whether it was the last.
func (ls *lines) left() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.open--
	return ls.open == 0
}

// lose has one goroutine free h, after those that were lost before it. A session
// may lose thousands at once: a goroutine for each would keep the telling of the
// others from the processor.
func (ls *lines) lose(h *held, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.lost = append(ls.lost, loss{h, err})
	if len(ls.lost) == 1 {
		go ls.freeLost()
	}
}

func (ls *lines) freeLost() {
	for i := 0; ; i++ {
		ls.mu.Lock()
		if i == len(ls.lost) {
			ls.lost = nil
			ls.mu.Unlock()
			return
		}
		l := ls.lost[i]
		ls.mu.Unlock()
		ls.released(l.held)
		l.held.tellLoss(l.err)
	}
}

// push puts w at the end of the queue. mu is held.
func (l *line) push(w *waiter) {
	w.prev = l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.behind++
}

// pop takes the first one out of the queue. mu is held.
func (l *line) pop() *waiter {
	for w := l.first; w != nil; w = l.first {
		l.remove(w)
		if !w.base.closed {
			return w
		}
		w.turn <- turnClosed
	}
	return nil
}

// remove takes w out of the queue and leaves w.prev as it is. mu is held.
func (l *line) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	l.behind--
}
