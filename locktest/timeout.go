package locktest

import (
	"context"
	"testing"
	"time"

	"github.com/golocker/locker"
)

const (
	// short is a timeout that passes in a subtest. It leaves a backend with a
	// network the time to find out that the lock is held.
	short = 150 * time.Millisecond

	// late is how much later than due something may happen, in real time, as the
	// machine may have other work.
	late = 2 * time.Second
)

func (s suite) timeout(t *testing.T) {
	s.timed(t, "Precise", preciseTimeout)
	s.timed(t, "PreciseWithLongCheckInterval", preciseWithLongCheckInterval)
	s.timed(t, "PreciseWithShortCheckInterval", preciseWithShortCheckInterval)
	s.timed(t, "DefaultIs5s", defaultTimeout)
	s.timed(t, "ZeroDoesNotWait", zeroTimeout)
	s.timed(t, "NoTimeoutWaits", noTimeout)
	s.timed(t, "DeadlineOfContextIsEarlier", deadlineIsEarlier)
	s.timed(t, "DeadlineOfContextIsLater", deadlineIsLater)
	s.timed(t, "ReleaseEndsTheWait", releaseEndsTheWait)
	s.timed(t, "EndsWithTheWait", timeoutEndsWithTheWait)
}

// tookExactly checks how long an Acquire that has ended took: in a bubble that,
// elsewhere not less, and hardly more.
func (a *attempt) tookExactly(want time.Duration) {
	a.p.Helper()
	switch {
	case a.took < want:
		a.p.Errorf("Acquire took %v, want no less than %v", a.took, want)
	case a.p.bubble && a.took != want:
		a.p.Errorf("Acquire took %v, want %v", a.took, want)
	case a.took > want+late:
		a.p.Errorf("Acquire took %v, want %v and not %v more", a.took, want, late)
	}
}

// timesOut checks that Acquires that wait in all positions time out in time.
func timesOut(p *place, opts ...locker.Option) {
	p.Helper()
	a, b := p.open(opts...), p.open(opts...)
	held := p.acquire(a, name)
	p.isHeld(b, name) // and what b needs, connections say, is there
	timeouts := []time.Duration{short, 2 * short, short, short + 10*time.Millisecond}
	var waiters []*attempt
	for i, timeout := range timeouts {
		l := []locker.Locker{a, b}[i%2]
		waiters = append(waiters, p.start(l, name, locker.WithTimeout(timeout)))
	}
	for i, w := range waiters {
		w.failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
		w.tookExactly(timeouts[i])
	}
	p.isOpen(held)
	p.release(held)
	p.isFree(b, name)
}

func preciseTimeout(p *place) {
	timesOut(p)
}

func preciseWithLongCheckInterval(p *place) {
	timesOut(p, locker.WithCheckInterval(time.Hour))
}

func preciseWithShortCheckInterval(p *place) {
	timesOut(p, locker.WithCheckInterval(time.Millisecond))
}

func defaultTimeout(p *place) {
	if !p.bubble {
		p.Skip("Bubble is false: it would take 5 s")
	}
	l := p.open()
	p.acquire(l, name)
	a := p.bare(l)
	a.failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
	a.tookExactly(5 * time.Second)
}

func zeroTimeout(p *place) {
	a, b := p.open(), p.open()
	for _, opt := range []locker.Option{locker.WithTimeout(0), locker.WithFailWhenLocked(true)} {
		held := p.acquire(a, name, opt) // a free lock is granted
		for _, l := range []locker.Locker{a, b} {
			refused := p.start(l, name, opt)
			refused.failed(locker.ErrAlreadyLocked)
			refused.tookExactly(0)
		}
		p.release(held)
	}
}

// noTimeout waits for longer than any other timeout that could be meant: the
// default's 5 s in a bubble, elsewhere the Locker's own. It looks more than once, as
// after a stall of the machine what is due has not happened yet.
func noTimeout(p *place) {
	a, b := p.open(locker.WithTimeout(short)), p.open(locker.WithTimeout(short))
	for _, l := range []locker.Locker{a, b} {
		held := p.acquire(a, name)
		waiter := p.start(l, name, locker.WithTimeout(locker.NoTimeout), quick).waiting()
		pause := short / 2
		if p.bubble {
			pause = time.Minute
		}
		for range 3 {
			time.Sleep(pause)
			waiter.stillWaits()
		}
		p.release(held)
		p.release(waiter.lock())
	}
}

func deadlineIsEarlier(p *place) {
	p.fromBoth(func(l locker.Locker) {
		ctx, cancel := context.WithTimeout(context.Background(), short)
		defer cancel()
		a := p.startContext(ctx, l, name, locker.WithTimeout(2*short))
		a.failed(context.DeadlineExceeded)
		if p.bubble {
			a.tookExactly(short)
		}
	})
}

func deadlineIsLater(p *place) {
	p.fromBoth(func(l locker.Locker) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*p.patience())
		defer cancel()
		a := p.startContext(ctx, l, name, locker.WithTimeout(short))
		a.failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
		a.tookExactly(short)
	})
}

// releaseEndsTheWait is about the default check interval: it is as late as a
// backend without wake-ups may be.
func releaseEndsTheWait(p *place) {
	const checkInterval = 250 * time.Millisecond
	a, b := p.open(), p.open()
	for _, l := range []locker.Locker{a, b} {
		held := p.acquire(a, name)
		waiter := p.start(l, name).waiting()
		p.release(held)
		released := time.Now()
		lock := waiter.lock()
		took, most := time.Since(released), checkInterval
		if !p.bubble {
			most += late
		}
		if took > most {
			p.Errorf("a waiter got the lock %v after its release, want %v at most", took, most)
		}
		p.release(lock)
	}
}

func timeoutEndsWithTheWait(p *place) {
	a, b := p.open(), p.open()
	p.release(p.acquire(a, name)) // connects, which may take longer
	held := p.acquire(a, name, locker.WithTimeout(short))
	time.Sleep(short + short/5)
	p.isOpen(held)
	p.isHeld(b, name)
	p.release(held)
}
