package locktest

import (
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) process(t *testing.T) {
	s.processes(t, "HoldsAgainstAnother", processHolds)
	s.processes(t, "WaitsForAnother", processWaits)
	s.processes(t, "HolderKilled", s.killed(holderKilled))
	s.processes(t, "WaiterKilled", s.killed(waiterKilled))
}

func processHolds(p *place) {
	l, c := p.open(), p.spawn()
	theirs := c.acquire(name).lock()
	p.isHeld(l, name)
	c.release(theirs)
	ours := p.acquire(l, name)
	c.try(name).isRefused()
	p.release(ours)
	c.release(c.acquire(name).lock())
}

func processWaits(p *place) {
	l, c := p.open(), p.spawn()
	for range 3 {
		theirs := c.acquire(name).lock()
		waiter := p.start(l, name).waiting()
		c.release(theirs)
		ours := waiter.lock()
		theirWaiter := c.acquire(name).waiting()
		p.release(ours)
		c.release(theirWaiter.lock())
	}
}

// killed skips a subtest about killed processes where they leave their locks.
func (s suite) killed(f func(*place)) func(*place) {
	return func(p *place) {
		if s.Recovery == 0 {
			p.Skip("Recovery is 0: the locks of a killed process stay until someone clears them away")
		}
		f(p)
	}
}

// recovers checks that an Acquire that waits gets the lock soon enough after a
// moment from which on nothing but a killed process is in its way.
func (p *place) recovers(waiter *attempt, since time.Time) locker.Lock {
	p.Helper()
	const scheduling = time.Second
	lock := waiter.lock()
	took := max(0, waiter.until.Sub(since))
	p.Logf("the next one got the lock %v later", took)
	if most := p.Recovery + scheduling; took > most {
		p.Errorf("the next one got the lock %v later, want %v at most: Recovery and %v for the scheduler", took, most, scheduling)
	}
	return lock
}

func holderKilled(p *place) {
	l, c := p.open(), p.spawn()
	theirs := c.acquire(name).lock()
	first, second := p.start(l, name).waiting(), p.start(l, name).waiting()
	c.kill()
	tokens := growing{p: p}
	tokens.next(theirs.token)
	lock := p.recovers(first, time.Now())
	tokens.next(lock.Token())
	second.stillWaits()
	p.release(lock)
	lock = second.lock()
	tokens.next(lock.Token())
	p.release(lock)
	p.isFree(p.open(), name)
}

func waiterKilled(p *place) {
	a, b, c := p.open(), p.open(), p.spawn()
	held := p.acquire(a, name)
	c.acquire(name).waiting()
	c.acquire(name).waiting()
	c.try(name).isRefused() // so that the first of them has been to the backend
	waiter := p.start(b, name).waiting()
	c.kill()
	p.isOpen(held)
	p.isHeld(b, name)
	waiter.stillWaits()
	p.release(held)
	p.release(p.recovers(waiter, time.Now()))
	p.isFree(a, name)
}
