package locktest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) close(t *testing.T) {
	s.test(t, "ReleasesHeldLocks", closeReleases)
	s.test(t, "ClosesDoneBeforeItReturns", closeClosesDone)
	s.test(t, "DoneClosesBeforeTheSuccessorHolds", doneBeforeSuccessorOfClosed)
	s.test(t, "EndsWaiters", closeEndsWaiters)
	s.test(t, "Idempotent", closeIdempotent)
	s.test(t, "LeavesOtherLockers", closeLeavesOthers)
	s.test(t, "WhileInUse", closeWhileInUse)
	s.test(t, "EndsGoroutines", closeEndsGoroutines)
}

func closeReleases(p *place) {
	a, b := p.open(), p.open()
	locks := []locker.Lock{p.acquire(a, name), p.acquire(a, "weekly-report"), p.acquire(a, "monthly-report")}
	p.isOpen(locks[0])
	waiter := p.start(b, name).waiting()
	p.close(a)
	for _, lock := range locks {
		p.hasEnded(lock, locker.ErrReleased)
	}
	p.release(waiter.lock())
	for _, lock := range locks {
		p.isFree(b, lock.Name())
	}
}

// closeClosesDone looks once, when Close has returned.
func closeClosesDone(p *place) {
	for range 5 {
		l := p.open()
		locks := []locker.Lock{p.acquire(l, name), p.acquire(l, "weekly-report")}
		p.isOpen(locks[0]) // which asks for its Done
		p.close(l)
		for _, lock := range locks {
			select {
			case <-lock.Done():
			default:
				p.Fatalf("Done of %q is open when Close of its Locker has returned", lock.Name())
			}
			p.hasEnded(lock, locker.ErrReleased)
		}
	}
}

func doneBeforeSuccessorOfClosed(p *place) {
	b := p.open()
	for range 10 {
		a := p.open()
		var awaits []func()
		for _, name := range []string{name, "weekly-report"} {
			awaits = append(awaits, p.succeed(p.acquire(a, name), b))
		}
		p.close(a)
		for _, awaitSuccessor := range awaits {
			awaitSuccessor()
		}
	}
}

func closeEndsWaiters(p *place) {
	a, b := p.open(), p.open()
	held, own := p.acquire(b, name), p.acquire(a, "weekly-report")
	var waiters []*attempt
	for _, name := range []string{name, "weekly-report", name, "weekly-report"} {
		waiters = append(waiters, p.start(a, name, locker.WithTimeout(locker.NoTimeout)).waiting())
	}
	p.close(a)
	for _, w := range waiters {
		w.failed(locker.ErrClosed)
	}
	p.hasEnded(own, locker.ErrReleased)
	p.isOpen(held)
	p.isHeld(b, name)
	p.isFree(b, "weekly-report")
}

func closeIdempotent(p *place) {
	l := p.open()
	p.acquire(l, name)
	const closers = 4
	results := make(chan error, closers)
	for range closers {
		go func() { results <- l.Close() }()
	}
	failed := 0
	for range closers {
		if err := p.call("Close", func() error { return <-results }); err != nil {
			failed++
		}
	}
	if failed > 1 { // one of them was the first, and may say what went wrong
		p.Errorf("%d of %d Closes at once failed, want none", failed, closers)
	}
	p.close(l)
	p.close(l)
	p.start(l, name).failed(locker.ErrClosed)
	p.close(p.open()) // nothing was acquired
}

func closeLeavesOthers(p *place) {
	a, b := p.open(), p.open()
	held := p.acquire(b, name)
	waiter := p.start(b, name).waiting()
	p.acquire(a, "weekly-report")
	p.close(a)
	p.isOpen(held)
	waiter.stillWaits()
	p.isFree(b, "weekly-report")
	p.release(held)
	p.release(waiter.lock())
}

// closeWhileInUse closes a Locker that many use. Who has a lock then sees it end,
// and no lock stays behind.
func closeWhileInUse(p *place) {
	names := []string{"daily-report", "weekly-report", "monthly-report"}
	other := p.open()
	for range 5 {
		l := p.open(quick)
		const n = 9
		used, results := make(chan struct{}, n), make(chan error, n)
		var closed atomic.Bool
		for i := range n {
			go func() { results <- useUntilClosed(l, names[i%len(names)], p.patience(), used, &closed) }()
		}
		for range n {
			_ = p.call("Acquire", func() error { <-used; return nil })
		}
		l.closed = true
		err := p.call("Close", func() error {
			defer closed.Store(true) // in the instant in which Close returns
			return l.Close()
		})
		if err != nil {
			p.Fatalf("Close() = %v", err)
		}
		for range n {
			if err := p.call("Acquire or Release of a closed Locker", func() error { return <-results }); err != nil {
				p.Fatal(err)
			}
		}
		for _, name := range names {
			p.isFree(other, name)
		}
	}
}

// useUntilClosed acquires and releases a lock until its Locker is closed. It sends
// on used right before it acquires for the second time, so that the Close that
// follows meets Acquires, also on one processor. When closed is true, Close has
// returned.
func useUntilClosed(l locker.Locker, name string, patience time.Duration, used chan<- struct{}, closed *atomic.Bool) error {
	for visits := 0; ; visits++ {
		if visits == 1 {
			used <- struct{}{}
		}
		lock, err := l.Acquire(context.Background(), name, locker.WithTimeout(patience))
		if err != nil {
			if visits == 0 {
				used <- struct{}{}
			}
			if errors.Is(err, locker.ErrClosed) {
				return nil
			}
			return err
		}
		if closed.Load() && lock.Err() == nil {
			return errors.New("a lock is held after Close of its Locker")
		}
		if err := lock.Release(context.Background()); err != nil {
			return err
		}
		if err := lock.Err(); !errors.Is(err, locker.ErrReleased) {
			return fmt.Errorf("Err() = %w after Release, want ErrReleased", err)
		}
		runtime.Gosched()
	}
}

// closeEndsGoroutines compares the goroutines before and after a Locker is used.
// Once it is used without looking, for what is started once for all.
func closeEndsGoroutines(p *place) {
	use := func(name string) {
		p.Run(name, func(t *testing.T) { // whose end undoes what Open did
			p := *p
			p.T = t
			useAndClose(&p)
		})
	}
	use("First")
	before := goroutines()
	use("Again")
	var left []string
	for end := time.Now().Add(p.patience()); ; time.Sleep(5 * time.Millisecond) {
		left = left[:0]
		for id, stack := range goroutines() {
			if before[id] == "" {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	p.Errorf("%d goroutines are left after Close:\n%s", len(left), strings.Join(left, "\n\n"))
}

func useAndClose(p *place) {
	a, b := p.open(quick), p.open(quick)
	lock := p.acquire(a, name)
	p.isOpen(lock)
	waiters := []*attempt{p.start(a, name).waiting(), p.start(b, name).waiting(), p.start(a, name).waiting()}
	canceled := p.start(b, name).waiting()
	canceled.cancel(nil)
	canceled.failed(context.Canceled)
	released := p.acquire(b, "weekly-report")
	p.release(released)
	p.isOpen(p.acquire(b, "monthly-report"))
	p.close(a)
	p.close(b)
	for _, w := range waiters {
		p.await(w.ended, "Close ends a waiter")
	}
}
