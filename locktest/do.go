package locktest

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/golocker/locker"
)

func (s suite) do(t *testing.T) {
	s.test(t, "RunsUnderTheLock", doRunsUnderTheLock)
	s.test(t, "ReturnsTheErrorOfFn", doReturnsErrorOfFn)
	s.test(t, "ReturnsTheErrorOfAcquire", doReturnsErrorOfAcquire)
	s.test(t, "ReleasesOnPanic", doReleasesOnPanic)
	s.test(t, "ReleasesOnGoexit", doReleasesOnGoexit)
	s.test(t, "ReleasesWhenContextEnds", doReleasesWhenContextEnds)
	s.test(t, "CloseCancelsContext", closeCancelsContext)
	s.test(t, "ReleaseCancelsContext", releaseCancelsContext)
	s.test(t, "CancelOfContextLeavesTheLock", cancelOfContext)
}

type fn func(ctx context.Context, lock locker.Lock) error

// runDo returns the error of Do.
func (p *place) runDo(ctx context.Context, l locker.Locker, f fn, opts ...locker.Option) error {
	p.Helper()
	return p.call("Do", func() error { return locker.Do(ctx, l, name, f, opts...) })
}

func doRunsUnderTheLock(p *place) {
	type key struct{}
	l := p.open()
	var held locker.Lock
	err := p.runDo(context.WithValue(context.Background(), key{}, "value"), l, func(ctx context.Context, lock locker.Lock) error {
		held = lock
		if ctx.Err() != nil || ctx.Value(key{}) != "value" {
			return errors.New("the ctx of fn is not the one of Do, alive")
		}
		if lock.Name() != name || lock.Err() != nil {
			return errors.New("the lock of fn is not held")
		}
		_, err := l.Acquire(ctx, name, locker.WithTimeout(0))
		if !errors.Is(err, locker.ErrAlreadyLocked) {
			return errors.New("fn does not run under the lock")
		}
		return nil
	})
	if err != nil {
		p.Fatalf("Do() = %v, want nil", err)
	}
	p.hasEnded(held, locker.ErrReleased)
	p.isFree(l, name)
}

func doReturnsErrorOfFn(p *place) {
	l := p.open()
	want := errors.New("the disk is full")
	if err := p.runDo(context.Background(), l, func(context.Context, locker.Lock) error { return want }); err != want { //nolint:errorlint // as it is
		p.Errorf("Do() = %v, want the error of fn as it is, %v", err, want)
	}
	p.isFree(l, name)
}

func doReturnsErrorOfAcquire(p *place) {
	a, b := p.open(), p.open()
	p.acquire(a, name)
	called := false
	err := p.runDo(context.Background(), b, func(context.Context, locker.Lock) error { called = true; return nil }, locker.WithTimeout(0))
	if err == nil || called {
		p.Fatalf("Do() = %v, and fn was called: %t; want an error, as the lock is held", err, called)
	}
	p.isError(err, "acquire", name, locker.ErrAlreadyLocked)
}

func doReleasesOnPanic(p *place) {
	a, b := p.open(), p.open()
	const want = "a bug in fn"
	var got any
	err := p.call("Do", func() error {
		defer func() { got = recover() }()
		return locker.Do(context.Background(), a, name, func(context.Context, locker.Lock) error { panic(want) })
	})
	if got != want {
		p.Errorf("Do() = %v and the panic %v, want the panic of fn", err, got)
	}
	p.isFree(b, name)
}

func doReleasesOnGoexit(p *place) {
	a, b := p.open(), p.open()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = locker.Do(context.Background(), a, name, func(context.Context, locker.Lock) error {
			runtime.Goexit()
			return nil
		})
	}()
	p.await(ended, "runtime.Goexit in fn ends the goroutine")
	p.isFree(b, name)
}

func doReleasesWhenContextEnds(p *place) {
	a, b := p.open(), p.open()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the user pressed ^C")
	err := p.runDo(ctx, a, func(ctx context.Context, lock locker.Lock) error {
		cancel(cause)
		<-ctx.Done()
		if err := lock.Err(); err != nil {
			return err
		}
		return context.Cause(ctx)
	})
	if err != cause { //nolint:errorlint // as it is
		p.Errorf("Do() = %v, want the cause of ctx, %v", err, cause)
	}
	p.isFree(b, name)
}

// endsContext checks what becomes of Context when end ends the lock, which says so
// with ErrReleased.
func endsContext(p *place, end func(l *opened, lock locker.Lock)) {
	p.Helper()
	l := p.open()
	lock := p.acquire(l, name)
	ctx, cancel := locker.Context(context.Background(), lock)
	defer cancel()
	if err := ctx.Err(); err != nil {
		p.Fatalf("the ctx has ended while the lock is held: %v", err)
	}
	end(l, lock)
	after, cancelAfter := locker.Context(context.Background(), lock)
	defer cancelAfter()
	for _, ctx := range []context.Context{ctx, after} {
		p.await(ctx.Done(), "the end of the lock ends the ctx of Context")
		if cause := context.Cause(ctx); !errors.Is(cause, locker.ErrReleased) {
			p.Errorf("the cause is %v, want ErrReleased", cause)
		}
	}
}

func releaseCancelsContext(p *place) {
	endsContext(p, func(_ *opened, lock locker.Lock) { p.release(lock) })
}

func closeCancelsContext(p *place) {
	endsContext(p, func(l *opened, _ locker.Lock) { p.close(l) })
}

func cancelOfContext(p *place) {
	l := p.open()
	lock := p.acquire(l, name)
	ctx, cancel := locker.Context(context.Background(), lock)
	cancel()
	p.await(ctx.Done(), "the CancelFunc ends the ctx")
	p.isOpen(lock)
	p.isHeld(l, name)
	p.release(lock)
}
