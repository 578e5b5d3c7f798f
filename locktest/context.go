package locktest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

func (s suite) context(t *testing.T) {
	s.test(t, "EndedBefore", contextEndedBefore)
	s.timed(t, "EndsTheWait", contextEndsTheWait)
	s.timed(t, "EndsTheWaitOfOneAlone", contextEndsOneWait)
	s.timed(t, "CanceledLaterLeavesTheLock", contextCanceledLater)
	s.timed(t, "DeadlineLaterLeavesTheLock", contextDeadlineLater)
	s.test(t, "EndRacesTheGrant", contextRacesTheGrant)
}

func contextEndedBefore(p *place) {
	a, b := p.open(), p.open()
	cause := errors.New("the user pressed ^C")
	canceled, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	passed, cancelPassed := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancelPassed()
	for _, opts := range [][]locker.Option{nil, {locker.WithTimeout(0)}, {locker.WithFailWhenLocked(true)}} {
		p.startContext(canceled, a, name, opts...).failed(context.Canceled, cause)
		p.startContext(passed, a, name, opts...).failed(context.DeadlineExceeded)
		for _, l := range []locker.Locker{b, a} { // nothing was acquired, for no time
			lock, err := p.try(l, name)
			if err != nil {
				p.Fatalf("after an Acquire whose ctx had ended before: %v", err)
			}
			p.release(lock)
		}
	}
}

func contextEndsTheWait(p *place) {
	p.fromBoth(func(l locker.Locker) {
		waiter := p.start(l, name, locker.WithTimeout(locker.NoTimeout), locker.WithCheckInterval(time.Hour)).waiting()
		canceled := time.Now()
		waiter.cancel(nil)
		waiter.failed(context.Canceled)
		took, most := time.Since(canceled), time.Duration(0)
		if !p.bubble {
			most = late
		}
		if took > most {
			p.Errorf("Acquire returned %v after its ctx had ended, want %v at most", took, most)
		}
	})
}

func contextEndsOneWait(p *place) {
	a, b := p.open(), p.open()
	held := p.acquire(a, name)
	for _, l := range []locker.Locker{a, b} {
		first := p.start(l, name).waiting()
		second := p.start(l, name).waiting()
		third := p.start(l, name).waiting()
		second.cancel(nil)
		second.failed(context.Canceled)
		first.stillWaits()
		third.stillWaits()
		first.cancel(nil)
		first.failed(context.Canceled)
		third.stillWaits()
		p.release(held)
		held = third.lock()
	}
	p.release(held)
}

// staysHeld checks that the lock is held, and still is when all that is going on
// has come to an end.
func (p *place) staysHeld(lock locker.Lock, l locker.Locker) {
	p.Helper()
	if p.bubble {
		synctest.Wait()
	}
	for end := time.Now().Add(50 * time.Millisecond); ; {
		p.isOpen(lock)
		p.isHeld(l, name)
		if p.bubble || time.Now().After(end) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func contextCanceledLater(p *place) {
	a, b := p.open(), p.open()
	first := p.start(a, name)
	held := first.lock()
	waiter := p.start(b, name).waiting()
	first.cancel(errors.New("the request has ended"))
	p.staysHeld(held, a)
	p.release(held)

	held = waiter.lock() // the same for one that has waited
	waiter.cancel(nil)
	p.staysHeld(held, a)
	p.release(held)
	p.isFree(a, name)
}

func contextDeadlineLater(p *place) {
	a, b := p.open(), p.open()
	p.release(p.acquire(a, name)) // connects, which may take longer
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	held := p.startContext(ctx, a, name).lock()
	<-ctx.Done()
	p.staysHeld(held, b)
	p.release(held)
}

// contextRacesTheGrant ends the ctx of a waiter while the lock comes to it. Either
// it gets the lock, or the lock goes on to others.
func contextRacesTheGrant(p *place) {
	a, b := p.open(), p.open()
	for i := range 40 {
		l := []locker.Locker{a, b}[i%2]
		held := p.acquire(a, name, quick)
		waiter := p.start(l, name, quick).waiting()
		go waiter.cancel(nil)
		p.release(held)
		lock, err := waiter.result()
		if err == nil {
			p.isOpen(lock)
			p.isHeld(b, name)
			p.release(lock)
		} else {
			waiter.failed(context.Canceled)
		}
		p.release(p.acquire(b, name, quick))
	}
}
