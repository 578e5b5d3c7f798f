package locktest

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) order(t *testing.T) {
	s.test(t, "FirstComeFirstServed", firstComeFirstServed)
	s.test(t, "NobodyOvertakes", nobodyOvertakes)
	s.timed(t, "WaiterWhoGivesUpIsPassedOver", waiterWhoGivesUp)
	s.test(t, "WaitersOfAllLockersAreServed", waitersOfAllLockers)
}

// firstComeFirstServed is about one Locker. Between Lockers the order is the
// backend's own.
func firstComeFirstServed(p *place) {
	l := p.open()
	held := p.acquire(l, name)
	var waiters []*attempt
	for range 6 {
		waiters = append(waiters, p.start(l, name).waiting())
	}
	for i, w := range waiters {
		p.release(held)
		held = w.lock()
		for _, later := range waiters[i+1:] {
			later.stillWaits()
		}
	}
	p.release(held)
}

// nobodyOvertakes lets others ask for the lock all the time, who do not wait, or not
// for long. The waiter keeps it once it has it, so that none of them can ever get it.
func nobodyOvertakes(p *place) {
	for range 10 {
		l := p.open()
		held := p.acquire(l, name)
		waiter := p.start(l, name).waiting()
		opts := []locker.Option{locker.WithTimeout(0), locker.WithFailWhenLocked(true), locker.WithTimeout(20 * time.Millisecond)}
		asking, results := make(chan struct{}, len(opts)), make(chan error, len(opts))
		for _, opt := range opts {
			go func() { results <- ask(l, opt, asking, waiter.ended) }()
		}
		for range opts {
			_ = p.call("Acquire", func() error { <-asking; return nil })
		}
		p.release(held)
		for range opts {
			if err := p.call("Acquire", func() error { return <-results }); err != nil {
				p.Fatal(err)
			}
		}
		p.release(waiter.lock())
		p.close(l)
	}
}

// ask asks for the lock, which it must not get, until done is closed. It sends on
// asking when it has begun.
func ask(l locker.Locker, opt locker.Option, asking chan<- struct{}, done <-chan struct{}) error {
	for begun := false; ; begun = true {
		lock, err := l.Acquire(context.Background(), name, opt)
		if !begun {
			asking <- struct{}{}
		}
		if err == nil {
			_ = lock.Release(context.Background())
			return errors.New("an Acquire got the lock before one that came earlier and waits")
		}
		if !errors.Is(err, locker.ErrAlreadyLocked) && !tooShort(err) {
			return err
		}
		select {
		case <-done:
			return nil
		default:
			runtime.Gosched()
		}
	}
}

// waiterWhoGivesUp does not ask the second waiter to wait still: on a machine that
// stalls, its timeout may have passed.
func waiterWhoGivesUp(p *place) {
	l := p.open()
	held := p.acquire(l, name)
	first := p.start(l, name).waiting()
	second := p.start(l, name, locker.WithTimeout(short)).came()
	third := p.start(l, name).waiting()
	fourth := p.start(l, name).waiting()
	first.cancel(nil)
	first.failed(context.Canceled)
	second.failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
	third.stillWaits()
	p.release(held)
	held = third.lock()
	fourth.stillWaits()
	p.release(held)
	p.release(fourth.lock())
	p.isFree(l, name)
}

func waitersOfAllLockers(p *place) {
	lockers := []locker.Locker{p.open(), p.open(), p.open()}
	held := p.acquire(lockers[0], name)
	var waiters []*attempt
	for range 2 {
		for _, l := range lockers {
			waiters = append(waiters, p.start(l, name).waiting())
		}
	}
	served := make(chan error, len(waiters))
	for _, w := range waiters {
		go func() {
			<-w.ended
			err := w.err
			if err == nil {
				err = w.got.Release(context.Background())
			}
			served <- err
		}()
	}
	p.release(held)
	for range waiters {
		if err := p.call("serving the waiters", func() error { return <-served }); err != nil {
			p.Fatal(err)
		}
	}
}
