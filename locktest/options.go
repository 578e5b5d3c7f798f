package locktest

import (
	"context"
	"testing"

	"github.com/golocker/locker"
)

func (s suite) options(t *testing.T) {
	s.timed(t, "OfTheConstructorAreDefaults", constructorSetsDefaults)
	s.timed(t, "OfAcquireWin", acquireWins)
}

// bare starts an Acquire with the given options alone.
func (p *place) bare(l locker.Locker, opts ...locker.Option) *attempt {
	p.Helper()
	return p.startBare(context.Background(), l, name, opts...)
}

func constructorSetsDefaults(p *place) {
	a := p.open()
	held := p.acquire(a, name)
	p.bare(p.open(locker.WithTimeout(0))).failed(locker.ErrAlreadyLocked)
	p.bare(p.open(locker.WithFailWhenLocked(true))).failed(locker.ErrAlreadyLocked)
	b := p.open(locker.WithTimeout(short))
	p.isHeld(b, name)
	p.bare(b).failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
	p.release(held)
}

func acquireWins(p *place) {
	a := p.open(locker.WithTimeout(0), locker.WithFailWhenLocked(true))
	held := p.acquire(a, name)
	p.bare(a).failed(locker.ErrAlreadyLocked)
	waiter := p.bare(a, locker.WithFailWhenLocked(false), locker.WithTimeout(p.patience())).waiting()
	p.bare(a).failed(locker.ErrAlreadyLocked)
	p.release(held)
	p.release(waiter.lock())
}
