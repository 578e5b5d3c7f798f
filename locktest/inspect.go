package locktest

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) inspect(t *testing.T) {
	test := func(name string, f func(*place)) {
		s.test(t, name, func(p *place) {
			p.inspector(p.open()) // or it is skipped
			f(p)
		})
	}
	test("Holder", inspectHolder)
	test("NoHolderOfBefore", inspectNoHolderOfBefore)
	test("Waiters", inspectWaiters)
	test("DisturbsNobody", inspectDisturbsNobody)
	test("Names", inspectNames)
	test("BreaksAHeldLock", inspectBreaks)
	test("BreaksAFreeLock", inspectBreaksFree)
	test("InvalidName", inspectInvalidName)
	s.processes(t, "KilledHolder", s.killed(inspectKilledHolder))
}

// inspector returns the Inspector that l is, or skips the subtest.
func (p *place) inspector(l *opened) locker.Inspector {
	p.Helper()
	i, ok := l.Locker.(locker.Inspector)
	if !ok {
		p.Skip("the Locker is no locker.Inspector")
	}
	if _, err := i.Inspect(context.Background(), "any"); errors.Is(err, errors.ErrUnsupported) {
		p.Skipf("the Locker cannot tell: %v", err)
	}
	return i
}

// look returns what i tells of the lock called name.
func (p *place) look(i locker.Inspector, name string) locker.Info {
	p.Helper()
	var info locker.Info
	err := p.call("Inspect", func() (err error) {
		info, err = i.Inspect(context.Background(), name)
		return err
	})
	if err != nil {
		p.Fatalf("Inspect(%.70q) = %v", name, err)
	}
	if info.Name != name {
		p.Errorf("Inspect(%.70q): Name is %.70q", name, info.Name)
	}
	return info
}

// looksFree checks that i says that nobody holds the lock.
func (p *place) looksFree(i locker.Inspector, name string) {
	p.Helper()
	if info := p.look(i, name); info.Held || info.Holder != (locker.Holder{}) {
		p.Errorf("Inspect(%.70q) = %+v, want it to be free: nobody holds it", name, info)
	}
}

// looksHeld checks that i says that lock, of this process, is held.
func (p *place) looksHeld(i locker.Inspector, lock locker.Lock) locker.Holder {
	p.Helper()
	info := p.look(i, lock.Name())
	if !info.Held || info.Holder.Token != 0 && info.Holder.Token != lock.Token() {
		p.Errorf("Inspect(%.70q) = %+v, want it to be held, with token %d if that is known", lock.Name(), info, lock.Token())
	}
	if pid := info.Holder.PID; pid != 0 && pid != os.Getpid() {
		p.Errorf("Inspect(%.70q): PID is %d, want %d", lock.Name(), pid, os.Getpid())
	}
	return info.Holder
}

func inspectHolder(p *place) {
	holder, other := p.open(), p.open()
	i := p.inspector(other)
	p.looksFree(i, name)
	began := time.Now()
	lock := p.acquire(holder, name)
	for _, i := range []locker.Inspector{i, p.inspector(holder)} {
		// Clocks of servers are not that of this machine to the microsecond.
		if h := p.looksHeld(i, lock); !h.Since.IsZero() && (h.Since.Before(began.Add(-time.Second)) || h.Since.After(time.Now().Add(time.Second))) {
			p.Errorf("Inspect: Since is %v, want about %v", h.Since, began)
		}
	}
	p.release(lock)
	p.looksFree(i, name)
}

// A holder that was before is never shown, whether the lock is free or another's.
func inspectNoHolderOfBefore(p *place) {
	a, b := p.open(), p.open()
	i := p.inspector(a)
	for _, l := range []locker.Locker{a, b, b, a} {
		lock := p.acquire(l, name)
		p.looksHeld(i, lock)
		p.release(lock)
		p.looksFree(i, name)
	}
}

func inspectWaiters(p *place) {
	a, b := p.open(), p.open()
	i := p.inspector(a)
	lock := p.acquire(a, name)
	if n := p.look(i, name).Waiters; n > 0 {
		p.Errorf("Inspect: %d waiters, want none", n)
	} else if n < 0 {
		p.Skip("Waiters is negative: the Locker does not know")
	}
	waiter := p.start(b, name).waiting()
	p.eventually("Inspect tells of the waiter", func() bool { return p.look(i, name).Waiters == 1 })
	p.release(lock)
	next := waiter.lock()
	p.looksHeld(i, next)
	p.eventually("Inspect tells that nobody waits", func() bool { return p.look(i, name).Waiters == 0 })
	p.release(next)
}

// eventually waits for what may be told a moment after it is true.
func (p *place) eventually(what string, is func() bool) {
	p.Helper()
	for end := time.Now().Add(p.patience()); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("%s: not after %v", what, p.patience())
		}
	}
}

func inspectDisturbsNobody(p *place) {
	a, b := p.open(), p.open()
	i := p.inspector(b)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var looks atomic.Int64
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; looks.Add(1) {
			_, _ = i.Inspect(ctx, name)
			for range i.Names(ctx) {
				continue
			}
		}
	}()
	for range 50 {
		before := looks.Load() // another one begins when the lock is free
		p.eventually("Inspect and Names return", func() bool { return looks.Load() > before })
		lock, err := p.try(a, name)
		if err != nil {
			p.Errorf("Acquire = %v while somebody looks at a free lock, want the lock", err)
			break
		}
		p.isOpen(lock)
		p.release(lock)
	}
	stop()
	p.await(ended, "Inspect and Names return when their ctx ends")
}

func inspectNames(p *place) {
	a, b := p.open(), p.open()
	i := p.inspector(b)
	p.haveNames(i)
	var locks []locker.Lock
	for _, name := range odd() {
		locks = append(locks, p.acquire(a, name))
	}
	p.haveNames(i, odd()...)
	for range i.Names(context.Background()) {
		break // which leaves nothing behind
	}
	for _, lock := range locks {
		p.release(lock)
	}
	p.haveNames(i)
}

// haveNames checks that i says that these locks are held, and no others.
func (p *place) haveNames(i locker.Inspector, want ...string) {
	p.Helper()
	var names []string
	err := p.call("Names", func() error {
		for name, err := range i.Names(context.Background()) {
			if err != nil {
				return err
			}
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		p.Fatalf("Names() = %v", err)
	}
	slices.Sort(names)
	want = slices.Sorted(slices.Values(want))
	for _, name := range want {
		if !slices.Contains(names, name) {
			p.Errorf("Names: %.70q is missing", name)
		}
	}
	for n, name := range names {
		if !slices.Contains(want, name) {
			p.Errorf("Names: %.70q, which nobody holds", name)
		}
		if n > 0 && name == names[n-1] {
			p.Errorf("Names: %.70q more than once", name)
		}
	}
}

func inspectBreaks(p *place) {
	a, b := p.open(often), p.open(often)
	for _, l := range []locker.Locker{a, b} {
		lock := p.acquire(a, name)
		waiter := p.start(l, name).waiting()
		lock.Done() // it is looked after
		if err := p.call("Break", func() error { return p.inspector(b).Break(context.Background(), name) }); err != nil {
			if errors.Is(err, errors.ErrUnsupported) {
				p.Skipf("the Locker cannot break locks: %v", err)
			}
			p.Fatalf("Break() = %v, want nil", err)
		}
		p.hasEnded(lock, locker.ErrLost)
		next := waiter.lock()
		if next.Token() <= lock.Token() {
			p.Errorf("Token() = %d after Break, want more than the %d of before", next.Token(), lock.Token())
		}
		if err := p.call("Release", func() error { return lock.Release(context.Background()) }); !errors.Is(err, locker.ErrLost) {
			p.Errorf("Release() = %v after Break, want ErrLost", err)
		}
		p.isOpen(next)
		p.looksHeld(p.inspector(a), next)
		p.release(next)
		p.looksFree(p.inspector(a), name)
	}
}

func inspectBreaksFree(p *place) {
	a, b := p.open(), p.open()
	for range 2 {
		if err := p.call("Break", func() error { return p.inspector(b).Break(context.Background(), name) }); err != nil {
			p.Fatalf("Break() = %v of a free lock, want nil", err)
		}
		lock := p.acquire(a, name)
		p.isOpen(lock)
		p.release(lock)
	}
}

func inspectInvalidName(p *place) {
	i := p.inspector(p.open())
	for _, name := range []string{"", "\xff"} {
		_, err := i.Inspect(context.Background(), name)
		p.isError(err, "inspect", name, locker.ErrInvalid)
		p.isError(i.Break(context.Background(), name), "break", name, locker.ErrInvalid)
	}
}

func inspectKilledHolder(p *place) {
	l, c := p.open(), p.spawn()
	i := p.inspector(l)
	theirs := c.acquire(name).lock()
	if info := p.look(i, name); !info.Held || info.Holder.Token != 0 && info.Holder.Token != theirs.token {
		p.Errorf("Inspect = %+v, want it to be held, with token %d if that is known", info, theirs.token)
	}
	c.kill()
	p.eventually("Inspect tells that the killed holder is gone", func() bool { return !p.look(i, name).Held })
	p.looksFree(i, name)
	p.haveNames(i)
	p.isFree(l, name)
}
