package locktest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/golocker/locker"
)

func (s suite) release(t *testing.T) {
	s.test(t, "FreesTheLock", releaseFrees)
	s.test(t, "ClosesDoneAndSetsErr", releaseCloses)
	s.test(t, "Idempotent", releaseIdempotent)
	s.test(t, "Concurrent", releaseConcurrent)
	s.test(t, "NeverFreesTheSuccessor", releaseNeverFreesSuccessor)
	s.test(t, "ContextEndedBefore", releaseContextEnded)
	s.test(t, "DoneClosesBeforeTheSuccessorHolds", doneBeforeSuccessor)
	s.test(t, "AfterClose", releaseAfterClose)
}

func releaseFrees(p *place) {
	a, b := p.open(), p.open()
	for _, l := range []locker.Locker{a, b, a} {
		lock := p.acquire(l, name)
		p.isHeld(a, name)
		p.isHeld(b, name)
		p.release(lock)
	}
}

func releaseCloses(p *place) {
	l := p.open()
	for _, asked := range []bool{true, false} { // whether Done is asked for in time
		lock := p.acquire(l, name)
		token := lock.Token()
		if asked {
			p.isOpen(lock)
		}
		p.release(lock)
		p.hasEnded(lock, locker.ErrReleased)
		if errors.Is(lock.Err(), locker.ErrLost) {
			p.Errorf("Err() = %v after Release, want no loss", lock.Err())
		}
		if lock.Name() != name || lock.Token() != token {
			p.Errorf("Name() = %q and Token() = %d after Release, want %q and %d as before", lock.Name(), lock.Token(), name, token)
		}
	}
}

func releaseIdempotent(p *place) {
	l := p.open()
	lock := p.acquire(l, name)
	for range 3 {
		p.release(lock)
		p.hasEnded(lock, locker.ErrReleased)
	}
	p.isFree(l, name)
	p.release(lock)
}

func releaseConcurrent(p *place) {
	a, b := p.open(), p.open()
	for range 10 {
		lock := p.acquire(a, name)
		waiter := p.start(b, name, quick)
		const releasers = 8
		results := make(chan error, releasers)
		for range releasers {
			go func() { results <- lock.Release(context.Background()) }()
		}
		for range releasers {
			if err := p.call("Release", func() error { return <-results }); err != nil {
				p.Errorf("one of several Releases at once = %v, want nil", err)
			}
		}
		successor := waiter.lock()
		p.isOpen(successor)
		p.isHeld(a, name)
		p.release(successor)
	}
}

func releaseNeverFreesSuccessor(p *place) {
	a, b := p.open(), p.open()
	for _, l := range []locker.Locker{a, b} {
		lock := p.acquire(a, name)
		waiter := p.start(l, name).waiting()
		p.release(lock)
		successor := waiter.lock()
		for range 3 {
			p.release(lock)
			p.isOpen(successor)
			p.isHeld(a, name)
			p.isHeld(b, name)
		}
		p.release(successor)
	}
}

func releaseContextEnded(p *place) {
	a, b := p.open(), p.open()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, l := range []locker.Locker{a, b} {
		lock := p.acquire(a, name)
		waiter := p.start(l, name).waiting()
		release := func() error { return lock.Release(ctx) }
		first := p.call("Release", release)
		if first != nil { // not confirmed within the grace
			p.isError(first, "release", name, context.Canceled)
		}
		p.hasEnded(lock, locker.ErrReleased)
		p.release(waiter.lock())
		if second := p.call("Release", release); !sameError(first, second) {
			p.Errorf("Release() = %v and then %v, want the same", first, second)
		}
	}
}

func sameError(a, b error) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// doneBeforeSuccessor looks at the lock from where its successor is acquired.
func doneBeforeSuccessor(p *place) {
	a, b := p.open(), p.open()
	for i := range 20 {
		lock := p.acquire(a, name)
		awaitSuccessor := p.succeed(lock, []locker.Locker{a, b}[i%2])
		p.release(lock)
		awaitSuccessor()
	}
}

// succeed has l wait for a lock that is held. What it returns waits until l has had
// the lock, and checks that the first holder was told before.
func (p *place) succeed(lock locker.Lock, l locker.Locker) (await func()) {
	p.Helper()
	done := lock.Done()
	ctx := &watchedContext{Context: context.Background(), asked: make(chan struct{})}
	result := make(chan error, 1)
	go func() {
		successor, err := l.Acquire(ctx, lock.Name(), locker.WithTimeout(p.patience()), quick)
		if err != nil {
			result <- err
			return
		}
		select {
		case <-done:
		default:
			err = errors.New("the Done of one holder is open while the next one holds the lock")
		}
		if lock.Err() == nil {
			err = errors.New("the Err of one holder is nil while the next one holds the lock")
		}
		if released := successor.Release(context.Background()); err == nil {
			err = released
		}
		result <- err
	}()
	p.awaitWait(ctx.asked, nil)
	return func() {
		p.Helper()
		if err := p.call("Acquire", func() error { return <-result }); err != nil {
			p.Fatal(err)
		}
	}
}

func releaseAfterClose(p *place) {
	l := p.open()
	lock, released := p.acquire(l, name), p.acquire(l, "weekly-report")
	p.release(released)
	p.close(l)
	p.release(lock)
	p.release(released)
	p.hasEnded(lock, locker.ErrReleased)
}
