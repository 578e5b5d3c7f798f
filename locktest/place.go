package locktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

// name is the lock of those subtests that need no particular one.
const name = "nightly-report"

// A place is a fresh place for locks, and the subtest that works there. Its
// methods fail the subtest at once when something is not as it must be, and
// wait for no longer than its patience.
type place struct {
	*testing.T
	suite
	addr   string
	bubble bool // the subtest runs in a bubble of synctest
}

func (s suite) place(t *testing.T) *place {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			s.failed.Add(1)
		}
	})
	return &place{T: t, suite: s, addr: s.New(t)}
}

// patience returns how long p waits for what must happen soon. Each subtest that has
// failed halves it, down to a tenth, and once p itself has failed it is that: who tests a
// broken backend is not to wait for long, time and again.
func (p *place) patience() time.Duration {
	least := p.most / 10
	if p.Failed() {
		return least
	}
	return max(p.most>>p.failed.Load(), least)
}

// An opened is a Locker that a place has opened. Where one Locker is to be told from
// another, this is what is compared: a Locker need not be comparable.
type opened struct {
	locker.Locker
	closed bool // by the subtest
}

// open returns a new Locker, which the end of the subtest closes.
func (p *place) open(opts ...locker.Option) *opened {
	p.Helper()
	l := &opened{Locker: p.Open(p.T, p.addr, opts...)}
	if l.Locker == nil {
		p.Fatal("the Harness is at fault: Open returned nil")
	}
	p.Cleanup(func() {
		if !l.closed {
			p.close(l)
		}
	})
	return l
}

// close closes l, which has to succeed.
func (p *place) close(l *opened) {
	p.Helper()
	l.closed = true
	if err := p.call("Close", l.Close); err != nil {
		p.Errorf("Close() = %v, want nil", err)
	}
}

// call returns what f returns.
func (p *place) call(what string, f func() error) error {
	p.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-time.After(p.patience()):
		p.Fatalf("%s has not returned after %v", what, p.patience())
		return nil
	}
}

// await waits until c is closed.
func (p *place) await(c <-chan struct{}, what string) {
	p.Helper()
	select {
	case <-c:
	case <-time.After(p.patience()):
		p.Fatalf("%s: not after %v", what, p.patience())
	}
}

// acquire acquires a lock. If it is not free, it will be.
func (p *place) acquire(l locker.Locker, name string, opts ...locker.Option) locker.Lock {
	p.Helper()
	return p.start(l, name, opts...).lock()
}

// try makes one attempt to acquire a lock.
func (p *place) try(l locker.Locker, name string) (locker.Lock, error) {
	p.Helper()
	return p.start(l, name, locker.WithTimeout(0)).result()
}

// release releases a lock, which has to succeed.
func (p *place) release(lock locker.Lock) {
	p.Helper()
	if err := p.call("Release", func() error { return lock.Release(context.Background()) }); err != nil {
		p.Fatalf("Release() = %v, want nil", err)
	}
}

// isHeld checks that l cannot acquire a lock, as another holds it.
func (p *place) isHeld(l locker.Locker, name string) {
	p.Helper()
	lock, err := p.try(l, name)
	if err == nil {
		p.Fatalf("Acquire(%.70q) = a lock with token %d, want ErrAlreadyLocked: another holds it", name, lock.Token())
	}
	if !errors.Is(err, locker.ErrAlreadyLocked) {
		p.Fatalf("Acquire(%.70q) = %v, want ErrAlreadyLocked", name, err)
	}
}

// isFree checks that l can acquire a lock, and returns the token.
func (p *place) isFree(l locker.Locker, name string) uint64 {
	p.Helper()
	lock := p.acquire(l, name)
	p.release(lock)
	return lock.Token()
}

// isOpen checks that lock says that it is held.
func (p *place) isOpen(lock locker.Lock) {
	p.Helper()
	if err := lock.Err(); err != nil {
		p.Fatalf("Err() = %v while the lock is held, want nil", err)
	}
	select {
	case <-lock.Done():
		p.Fatal("Done is closed while the lock is held")
	default:
	}
}

// hasEnded checks that lock says that it is no longer held, for the reason want.
func (p *place) hasEnded(lock locker.Lock, want error) {
	p.Helper()
	p.await(lock.Done(), "Done closes")
	if err := lock.Err(); !errors.Is(err, want) {
		p.Fatalf("Err() = %v when Done is closed, want %v", err, want)
	}
}

// An attempt is an Acquire in a goroutine of its own.
type attempt struct {
	p      *place
	name   string
	cancel context.CancelCauseFunc
	waits  <-chan struct{} // closed when it waits
	ended  chan struct{}   // closed when it has ended; the rest is set before

	got   locker.Lock
	err   error
	took  time.Duration
	until time.Time // when it ended
}

// start starts an Acquire that waits for as long as the patience, unless opts
// say otherwise.
func (p *place) start(l locker.Locker, name string, opts ...locker.Option) *attempt {
	p.Helper()
	return p.startContext(context.Background(), l, name, opts...)
}

func (p *place) startContext(ctx context.Context, l locker.Locker, name string, opts ...locker.Option) *attempt {
	p.Helper()
	return p.startBare(ctx, l, name, append([]locker.Option{locker.WithTimeout(p.patience())}, opts...)...)
}

// startBare starts an Acquire with the given options alone.
func (p *place) startBare(ctx context.Context, l locker.Locker, name string, opts ...locker.Option) *attempt {
	p.Helper()
	ctx, cancel := context.WithCancelCause(ctx)
	p.Cleanup(func() { cancel(nil) })
	watched := &watchedContext{Context: ctx, asked: make(chan struct{})}
	a := &attempt{p: p, name: name, cancel: cancel, waits: watched.asked, ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		began := time.Now()
		a.got, a.err = l.Acquire(watched, name, opts...)
		a.until = time.Now()
		a.took = a.until.Sub(began)
	}()
	return a
}

// waiting returns a when it waits, which it must.
func (a *attempt) waiting() *attempt {
	a.p.Helper()
	a.came().stillWaits()
	return a
}

// came returns a when it waits or, in real time, has given up already.
func (a *attempt) came() *attempt {
	if a.p.bubble {
		synctest.Wait()
	} else {
		a.p.awaitWait(a.waits, a.ended)
	}
	return a
}

// awaitWait waits until an Acquire waits or has ended.
func (p *place) awaitWait(waits, ended <-chan struct{}) {
	select {
	case <-waits:
	case <-ended:
	case <-time.After(p.patience() / 10): // it does not look at its ctx
	}
}

// stillWaits checks that a has not ended, in a bubble also that it is not about to.
func (a *attempt) stillWaits() {
	a.p.Helper()
	if a.p.bubble {
		synctest.Wait()
	}
	select {
	case <-a.ended:
		a.p.Fatalf("Acquire(%.70q) = %v, %v after %v, want it to wait: another holds the lock", a.name, a.got, a.err, a.took)
	default:
	}
}

// result returns what the Acquire returned: a lock or an error.
func (a *attempt) result() (locker.Lock, error) {
	a.p.Helper()
	a.p.await(a.ended, fmt.Sprintf("Acquire(%.70q) returns", a.name))
	if (a.got == nil) == (a.err == nil) {
		a.p.Fatalf("Acquire(%.70q) = %v, %v, want a Lock or an error", a.name, a.got, a.err)
	}
	return a.got, a.err
}

// lock returns the lock, which has been acquired.
func (a *attempt) lock() locker.Lock {
	a.p.Helper()
	lock, err := a.result()
	if err != nil {
		a.p.Fatalf("Acquire(%.70q) = %v, want the lock", a.name, err)
	}
	return lock
}

// failed checks that the Acquire returned the error that matches, see isError.
func (a *attempt) failed(matches ...error) {
	a.p.Helper()
	lock, err := a.result()
	if err == nil {
		a.p.Fatalf("Acquire(%.70q) = a lock with token %d, want an error that matches %q", a.name, lock.Token(), matches)
	}
	a.p.isError(err, "acquire", a.name, matches...)
}

// A watchedContext tells when its Done is asked for: a waiting Acquire has to.
type watchedContext struct {
	context.Context
	once  sync.Once
	asked chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}
