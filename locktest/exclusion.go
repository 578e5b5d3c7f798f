package locktest

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) exclusion(t *testing.T) {
	s.test(t, "NotReentrant", notReentrant)
	s.test(t, "Goroutines", excludesGoroutines)
	s.test(t, "Lockers", excludesLockers)
	s.processes(t, "Processes", excludesProcesses)
}

func notReentrant(p *place) {
	l := p.open()
	lock := p.acquire(l, name)
	p.isHeld(l, name)
	p.isOpen(lock)
	p.release(lock)
	p.isFree(l, name)
}

func excludesGoroutines(p *place) {
	p.contend(8, 25, p.open())
}

func excludesLockers(p *place) {
	lockers := []locker.Locker{p.open(), p.open(), p.open()}
	for _, holder := range lockers {
		lock := p.acquire(holder, name)
		for _, l := range lockers {
			p.isHeld(l, name)
		}
		p.release(lock)
	}
	p.contend(3, 12, lockers...)
}

func excludesProcesses(p *place) {
	const rounds = 20
	file := filepath.Join(p.TempDir(), "count")
	children := []*child{p.spawn(), p.spawn()}
	var counts []*call
	for _, c := range children {
		counts = append(counts, c.count(name, file, rounds))
	}
	l := p.open(quick)
	err := p.call("counting", func() error { return count(context.Background(), l, name, file, rounds, p.patience()) })
	if err != nil {
		p.Error(err)
	}
	for _, c := range counts {
		c.done()
	}
	n, _, err := readCount(file)
	if want := rounds * (1 + len(children)); err != nil || n != want {
		p.Fatalf("after %d increments under the lock, the count is %d, %v", want, n, err)
	}
}

// quick is for many hand-overs: it makes a backend without wake-ups fast.
var quick = locker.WithCheckInterval(2 * time.Millisecond)

// contend has goroutines hold the lock in turn, each in as many rounds.
func (p *place) contend(goroutines, rounds int, lockers ...locker.Locker) {
	p.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var s section
	var all sync.WaitGroup
	for _, l := range lockers {
		for range goroutines {
			all.Go(func() {
				for range rounds {
					if err := s.enter(ctx, l, locker.WithTimeout(p.patience()), quick); err != nil {
						cancel(err) // ends the others
						return
					}
				}
			})
		}
	}
	_ = p.call("the contention", func() error { all.Wait(); return nil })
	if err := context.Cause(ctx); err != nil {
		p.Fatal(err)
	}
	if want := goroutines * rounds * len(lockers); s.visits.Load() != int64(want) {
		p.Errorf("after %d visits, one at a time, the count is %d", want, s.visits.Load())
	}
}

// A section is what a lock protects. Its variables are atomic, as a lock held
// on another machine synchronizes nothing that the race detector knows of.
type section struct {
	holder atomic.Pointer[locker.Lock]
	visits atomic.Int64
	token  atomic.Uint64 // of the latest visit
}

// enter visits the section under the lock called name.
func (s *section) enter(ctx context.Context, l locker.Locker, opts ...locker.Option) error {
	lock, err := l.Acquire(ctx, name, opts...)
	if err != nil {
		return err
	}
	err = s.visit(lock)
	if released := lock.Release(ctx); err == nil {
		err = released
	}
	return err
}

// visit enters and leaves the section while lock is held.
func (s *section) visit(lock locker.Lock) error {
	if !s.holder.CompareAndSwap(nil, &lock) {
		return fmt.Errorf("the lock was granted twice: with token %d while another one is held", lock.Token())
	}
	defer s.holder.Store(nil)
	visits := s.visits.Load()
	if last := s.token.Swap(lock.Token()); visits > 0 && lock.Token() <= last {
		return fmt.Errorf("token %d after token %d, want a greater one", lock.Token(), last)
	}
	if err := lock.Err(); err != nil {
		return fmt.Errorf("Err() = %w while the lock is held, want nil", err)
	}
	runtime.Gosched()
	s.visits.Store(visits + 1)
	return nil
}
