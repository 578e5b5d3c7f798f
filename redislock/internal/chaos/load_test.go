//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
)

// A setting is what the load of one process is made of.
type setting struct {
	Process     int
	Seed        uint64
	Names       []string      // of the locks
	Servers     []address     // a Locker for each
	Goroutines  int           // of each Locker
	Longest     time.Duration // that a lock is held
	Unavailable time.Duration
	Broken      []edit // nil: the protocol is as it should be
}

const (
	settleTime = 100 * time.Millisecond // for a holder to be told; the machine may be busy
	watchEvery = 400 * time.Microsecond // how often a holder looks whether it is one
	tooLong    = 3 * time.Second        // over what a call may take
)

// A load is one process: its Lockers, and the goroutines that acquire and release.
type load struct {
	setting
	tell    func(event)
	ctx     context.Context
	cancel  context.CancelFunc
	slots   []*slot
	running sync.WaitGroup

	mu    sync.Mutex
	last  int                           // guarded by mu: number of a hold
	holds map[string]map[*hold]struct{} // guarded by mu: by name, until it is known that they are over
}

func start(s setting, tell func(event)) (*load, error) {
	l := &load{setting: s, tell: tell, holds: make(map[string]map[*hold]struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for i, server := range s.Servers {
		sl := &slot{load: l, server: server}
		if err := sl.renew(); err != nil {
			return nil, err
		}
		l.slots = append(l.slots, sl)
		random := func(goroutine int) *rand.Rand {
			return rand.New(rand.NewPCG(s.Seed, uint64(s.Process)<<32|uint64(i)<<16|uint64(goroutine)))
		}
		for g := range s.Goroutines {
			l.running.Go(func() { (&worker{l, sl, random(g)}).run() })
		}
		l.running.Go(func() { sl.renewAgain(random(s.Goroutines)) })
	}
	return l, nil
}

// quiet ends the goroutines, after which nothing is held; the Lockers stay open.
func (l *load) quiet() {
	l.cancel()
	l.running.Wait()
}

// close closes the Lockers.
func (l *load) close() {
	for _, s := range l.slots {
		s.close(s.current())
	}
}

// wrong tells of something that must not be.
func (l *load) wrong(name string, from int64, format string, args ...any) {
	l.tell(event{Kind: wrong, Process: l.Process, Name: name, From: from, Until: now(), Text: fmt.Sprintf(format, args...)})
}

// A worker acquires and releases, until its load is to be quiet.
type worker struct {
	*load
	slot   *slot
	random *rand.Rand
}

func (w *worker) run() {
	for w.ctx.Err() == nil {
		o := w.slot.current()
		name := w.Names[w.random.IntN(len(w.Names))]
		ctx, cancel, opts, bound := w.way()
		called := now()
		lock, err := o.Acquire(ctx, name, opts...)
		returned := now()
		cancel()
		if took := time.Duration(returned - called); took > bound+tooLong && w.ctx.Err() == nil {
			w.late(name, called, returned, "Acquire", took, bound)
		}
		if err != nil {
			w.refused(o, name, called, returned, err)
			continue
		}
		w.hold(o, w.granted(lock, called, returned))
		w.pause(upTo(w.random, 5*time.Millisecond))
	}
}

// way draws how to acquire, and how long that may take.
func (w *worker) way() (ctx context.Context, cancel context.CancelFunc, opts []locker.Option, bound time.Duration) {
	ctx, cancel = w.ctx, func() {}
	opts = []locker.Option{locker.WithCheckInterval(20*time.Millisecond + upTo(w.random, 100*time.Millisecond))}
	attempt := dialTimeout + 2*readTimeout // without a timeout, it is the server that bounds an attempt
	switch w.random.IntN(8) {
	case 0:
		return ctx, cancel, append(opts, locker.WithTimeout(0)), 2 * attempt
	case 1:
		return ctx, cancel, append(opts, locker.WithFailWhenLocked(true)), 2 * attempt
	case 2:
		bound = upTo(w.random, 30*time.Millisecond)
		ctx, cancel = context.WithTimeout(ctx, bound)
		return ctx, cancel, append(opts, locker.WithTimeout(locker.NoTimeout)), bound
	case 3:
		bound = time.Millisecond + upTo(w.random, 100*time.Millisecond)
	default:
		bound = time.Second + upTo(w.random, 4*time.Second)
	}
	return ctx, cancel, append(opts, locker.WithTimeout(bound)), bound
}

// refused tells of an Acquire that has failed.
func (w *worker) refused(o *opened, name string, called, returned int64, err error) {
	switch {
	case errors.Is(err, locker.ErrAlreadyLocked), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case errors.Is(err, locker.ErrUnavailable):
		w.pause(5 * time.Millisecond)
	case errors.Is(err, locker.ErrClosed) && o.closing.Load():
	default:
		w.wrong(name, called, "Acquire: %v", err)
	}
	w.tell(event{Kind: refused, Process: w.Process, Name: name, From: called, Until: returned, Text: err.Error()})
}

func (l *load) late(name string, from, until int64, call string, took, bound time.Duration) {
	l.tell(event{Kind: late, Process: l.Process, Name: name, From: from, Until: until,
		Text: fmt.Sprintf("%s took %v, which was to take %v", call, took, bound)})
}

func (l *load) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// A hold is a lock that the process takes to be held.
type hold struct {
	lock  locker.Lock
	begin event
	alive atomic.Int64 // when Err was last called that returned nil
}

// look returns the Err of the lock.
func (h *hold) look() error {
	at := now()
	err := h.lock.Err()
	for err == nil {
		seen := h.alive.Load()
		if seen >= at || h.alive.CompareAndSwap(seen, at) {
			break
		}
	}
	return err
}

// granted tells of a lock that was acquired. Whoever else of this process has held
// it is looked at now: it must know that it does no more.
func (l *load) granted(lock locker.Lock, called, returned int64) *hold {
	h := &hold{lock: lock}
	h.alive.Store(called)
	l.mu.Lock()
	l.last++
	h.begin = event{Kind: acquired, Process: l.Process, Hold: l.last, Name: lock.Name(), Token: lock.Token(), From: called, Until: returned}
	var others []*hold
	for other := range l.holds[lock.Name()] {
		others = append(others, other)
	}
	if l.holds[lock.Name()] == nil {
		l.holds[lock.Name()] = make(map[*hold]struct{})
	}
	l.holds[lock.Name()][h] = struct{}{}
	l.mu.Unlock()
	l.tell(h.begin)
	for _, other := range others {
		_ = other.look()
	}
	return h
}

// hold keeps a lock for a while, and releases it.
func (w *worker) hold(o *opened, h *hold) {
	var done <-chan struct{}
	if w.random.IntN(2) == 0 {
		done = h.lock.Done() // else nobody asks for it
	}
	length := w.length()
	lost := h.look()
	for until := time.Now().Add(length); lost == nil && w.ctx.Err() == nil && time.Now().Before(until); lost = h.look() {
		select {
		case <-done:
			if h.lock.Err() == nil {
				w.wrong(h.begin.Name, h.begin.Until, "Done is closed, and Err is nil")
			}
		case <-time.After(watchEvery):
		}
	}
	if lost != nil {
		w.over(h, h.alive.Load(), now(), lost.Error())
		released := errors.Is(lost, locker.ErrReleased) && o.closing.Load()
		if !released && !errors.Is(lost, locker.ErrLost) {
			w.wrong(h.begin.Name, h.begin.Until, "Err: %v", lost)
		}
	}
	w.release(o, h, lost)
}

// length draws how long a lock is kept: often it is released at once, and so seldom
// for long that others get it, too.
func (w *worker) length() time.Duration {
	n := w.random.IntN(100)
	switch {
	case n < 15:
		return upTo(w.random, w.Longest)
	case n < 40:
		return upTo(w.random, min(w.Longest, 50*time.Millisecond))
	case n < 70:
		return upTo(w.random, 2*time.Millisecond)
	default:
		return 0
	}
}

// release releases a lock, and tells of it if it is not known yet to be lost.
func (w *worker) release(o *opened, h *hold, lost error) {
	ctx, cancel := context.Background(), func() {}
	bound := 2 * (dialTimeout + readTimeout)
	switch w.random.IntN(4) {
	case 0:
		bound = upTo(w.random, 100*time.Millisecond)
		ctx, cancel = context.WithTimeout(ctx, bound)
	case 1:
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	}
	defer cancel()
	called := now()
	err := h.lock.Release(ctx)
	returned := now()
	if took := time.Duration(returned - called); took > bound+tooLong {
		w.late(h.begin.Name, called, returned, "Release", took, bound)
	}
	if h.lock.Err() == nil {
		w.wrong(h.begin.Name, called, "Err is nil after Release")
	}
	switch {
	case errors.Is(lost, locker.ErrLost) && !errors.Is(err, locker.ErrLost):
		w.wrong(h.begin.Name, called, "Release of a lock that was lost: %v", err)
	case err != nil && !errors.Is(err, locker.ErrLost) && !errors.Is(err, locker.ErrUnavailable) && ctx.Err() == nil:
		w.wrong(h.begin.Name, called, "Release: %v", err)
	case lost != nil:
	case err == nil && !o.closing.Load(): // it was held until it was released
		w.over(h, max(called, h.alive.Load()), returned, "released")
	default:
		w.over(h, h.alive.Load(), returned, fmt.Sprint("released: ", err))
	}
}

// over tells of the end of a hold.
func (l *load) over(h *hold, from, until int64, text string) {
	l.mu.Lock()
	delete(l.holds[h.begin.Name], h)
	l.mu.Unlock()
	e := h.begin
	e.Kind, e.From, e.Until, e.Text = ended, from, until, text
	l.tell(e)
}

// upTo draws a duration from 0 to d.
func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}
