package locktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) loss(t *testing.T) {
	test := func(name string, f func(*place)) {
		t.Run(name, func(t *testing.T) {
			if s.Break == nil {
				t.Skip("Break is nil: a lock cannot be lost")
			}
			f(s.place(t))
		})
	}
	test("IsTold", lossIsTold)
	test("ReleaseReportsIt", lossReportedByRelease)
	test("CancelsContext", lossCancelsContext)
	test("DoReportsIt", lossReportedByDo)
	test("DoJoinsItToTheErrorOfFn", lossJoinedByDo)
	test("NextHoldHasGreaterToken", lossThenNextHold)
	test("WaitersGoOn", lossThenWaiters)
	test("AfterReleaseIsNone", lossAfterRelease)
	test("CloseAfterIt", lossThenClose)
}

// sever has the harness break a held lock.
func (p *place) sever(lock locker.Lock) {
	p.Helper()
	p.isOpen(lock)
	p.Break(p.T, p.addr, lock)
}

// often is for locks whose loss has to be looked for.
var often = locker.WithCheckInterval(10 * time.Millisecond)

func lossIsTold(p *place) {
	l := p.open(often)
	lock := p.acquire(l, name)
	p.sever(lock)
	p.hasEnded(lock, locker.ErrLost)
	if err := lock.Err(); errors.Is(err, locker.ErrReleased) {
		p.Errorf("Err() = %v after a loss, want no ErrReleased", err)
	}
	lock = p.acquire(l, name) // again, where nobody has asked for Done
	p.Break(p.T, p.addr, lock)
	for end := time.Now().Add(p.patience()); lock.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("Err() = nil %v after the loss", p.patience())
		}
	}
	p.hasEnded(lock, locker.ErrLost)
}

func lossReportedByRelease(p *place) {
	l := p.open(often)
	lock := p.acquire(l, name)
	p.sever(lock)
	p.hasEnded(lock, locker.ErrLost)
	release := func() error { return lock.Release(context.Background()) }
	first := p.call("Release", release)
	if first == nil {
		p.Fatal("Release() = nil after a loss, want ErrLost")
	}
	if !errors.Is(first, locker.ErrLost) || errors.Is(first, locker.ErrReleased) {
		p.Errorf("Release() = %v after a loss, want ErrLost and no ErrReleased", first)
	}
	if e, ok := first.(*locker.Error); !ok || e.Op != "release" || e.Name != name { //nolint:errorlint // every error is an *Error
		p.Errorf("Release() = %#v after a loss, want a *locker.Error with Op %q and Name %q", first, "release", name)
	}
	if second := p.call("Release", release); !sameError(first, second) {
		p.Errorf("Release() = %v and then %v, want the same", first, second)
	}
	p.hasEnded(lock, locker.ErrLost)
}

func lossCancelsContext(p *place) {
	l := p.open(often)
	lock := p.acquire(l, name)
	ctx, cancel := locker.Context(context.Background(), lock)
	defer cancel()
	p.sever(lock)
	p.await(ctx.Done(), "a loss ends the ctx of Context")
	if cause := context.Cause(ctx); !errors.Is(cause, locker.ErrLost) {
		p.Errorf("the cause is %v, want ErrLost", cause)
	}
}

// doUntilLost runs Do, severs the lock in it, and returns the error of Do. fn
// returns result once it is told.
func (p *place) doUntilLost(result error) error {
	p.Helper()
	l := p.open(often)
	locks, returned := make(chan locker.Lock, 1), make(chan error, 1)
	var cause error
	go func() {
		returned <- locker.Do(context.Background(), l, name, func(ctx context.Context, lock locker.Lock) error {
			locks <- lock
			<-ctx.Done()
			cause = context.Cause(ctx)
			return result
		})
	}()
	var lock locker.Lock
	_ = p.call("Acquire in Do", func() error { lock = <-locks; return nil })
	p.sever(lock)
	err := p.call("Do, whose lock was lost,", func() error { return <-returned })
	if !errors.Is(cause, locker.ErrLost) {
		p.Errorf("the ctx of fn ended with the cause %v, want ErrLost", cause)
	}
	return err
}

func lossReportedByDo(p *place) {
	if err := p.doUntilLost(nil); !errors.Is(err, locker.ErrLost) {
		p.Errorf("Do() = %v after a loss, want ErrLost", err)
	}
}

func lossJoinedByDo(p *place) {
	own := errors.New("the disk is full")
	if err := p.doUntilLost(own); !errors.Is(err, locker.ErrLost) || !errors.Is(err, own) {
		p.Errorf("Do() = %v after a loss, want ErrLost and the error of fn, %v", err, own)
	}
}

func lossThenNextHold(p *place) {
	a, b := p.open(often), p.open(often)
	tokens := growing{p: p}
	for _, l := range []locker.Locker{a, b, a} {
		lock := p.acquire(a, name)
		tokens.next(lock.Token())
		p.sever(lock)
		p.hasEnded(lock, locker.ErrLost)

		next := p.acquire(l, name)
		tokens.next(next.Token())
		_ = p.call("Release", func() error { return lock.Release(context.Background()) })
		p.isHeld(a, name) // the lost lock's Release has not freed it
		p.isHeld(b, name)
		p.isOpen(next)
		p.release(next)
	}
}

func lossThenWaiters(p *place) {
	a, b := p.open(often), p.open(often)
	for _, l := range []locker.Locker{a, b} {
		lock := p.acquire(a, name)
		waiter := p.start(l, name).waiting()
		p.isHeld(l, name) // as now the waiter knows too: its first attempt is over, which an outage may end
		p.sever(lock)
		next := waiter.lock()
		if lock.Err() == nil {
			p.Log("the next one got the lock before the loss was told; a backend documents how late that may be")
		}
		p.hasEnded(lock, locker.ErrLost)
		if next.Token() <= lock.Token() {
			p.Errorf("Token() = %d after a loss, want more than the lost lock's %d", next.Token(), lock.Token())
		}
		p.release(next)
	}
}

func lossAfterRelease(p *place) {
	l := p.open(often)
	lock := p.acquire(l, name)
	p.isOpen(lock)
	p.release(lock)
	next := p.acquire(l, name)
	p.sever(next)
	p.hasEnded(next, locker.ErrLost)
	p.hasEnded(lock, locker.ErrReleased)
	p.release(lock)
}

func lossThenClose(p *place) {
	a, b := p.open(often), p.open(often)
	lock := p.acquire(a, name)
	p.sever(lock)
	p.hasEnded(lock, locker.ErrLost)
	p.close(a)
	p.hasEnded(lock, locker.ErrLost)
	p.isFree(b, name)
}
