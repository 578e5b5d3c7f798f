package redislock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// What the table of faults in the README says is measured here:
//
//	go test -run '^$' -bench Fault -benchtime 10x ./redislock

// A span is how long something took, over several rounds.
type span struct{ total, longest time.Duration }

func (s *span) add(d time.Duration) { s.total, s.longest = s.total+d, max(s.longest, d) }

func (s *span) report(b *testing.B, what string) {
	b.ReportMetric(float64(s.total.Microseconds())/1000/float64(b.N), what+"-ms")
	b.ReportMetric(float64(s.longest.Microseconds())/1000, "longest-"+what+"-ms")
}

// waiterFor has l wait for the lock n, and returns when it is in the queue. The
// function waits until it has acquired, and returns when that was.
func waiterFor(b *testing.B, s *redistest.Server, l locker.Locker) func() time.Time {
	b.Helper()
	acquired := make(chan time.Time, 1)
	go func() {
		lock, err := l.Acquire(b.Context(), "n")
		now := time.Now()
		if err == nil {
			err = lock.Release(b.Context())
		}
		if err != nil {
			b.Error(err)
		}
		acquired <- now
	}()
	c := s.Client(nil)
	for c.LLen(b.Context(), "n:locker:queue").Val() == 0 {
		time.Sleep(time.Millisecond)
	}
	return func() time.Time { return <-acquired }
}

// BenchmarkFaultFrozenHolder measures from a SIGSTOP of the holder until the next
// one holds.
func BenchmarkFaultFrozenHolder(b *testing.B) {
	s := redistest.Start(b)
	l := openAlert(b, s.Addr, 3, locker.WithTimeout(bound))
	var next span
	for b.Loop() {
		p := startChild(b, s.Addr)
		p.says("held")
		acquired := waiterFor(b, s, l)
		start := time.Now()
		p.freeze()
		next.add(acquired().Sub(start))
		p.end()
	}
	next.report(b, "next")
}

// BenchmarkFaultPartition measures from when nothing that the server says arrives
// any more until Done is closed, and until the next one holds.
func BenchmarkFaultPartition(b *testing.B) {
	s := redistest.Start(b)
	l := openAlert(b, s.Addr, 3, locker.WithTimeout(bound))
	var notice, next span
	for b.Loop() {
		var n network
		holder := openWith(b, s.Client(n.partition), nil)
		lock, err := holder.Acquire(b.Context(), "n")
		if err != nil {
			b.Fatal(err)
		}
		acquired := waiterFor(b, s, l)
		start := time.Now()
		n.silent.Store(true)
		<-lock.Done()
		notice.add(time.Since(start))
		next.add(acquired().Sub(start))
	}
	notice.report(b, "notice")
	next.report(b, "next")
}

// BenchmarkFaultRestart measures from the return of a server that keeps nothing
// until a waiter holds.
func BenchmarkFaultRestart(b *testing.B) {
	s := redistest.Start(b)
	holder, l := openAlert(b, s.Addr, 3), openAlert(b, s.Addr, 3, locker.WithTimeout(bound))
	var next span
	for b.Loop() {
		lock, err := holder.Acquire(b.Context(), "n", locker.WithTimeout(bound))
		if err != nil {
			b.Fatal(err)
		}
		acquired := waiterFor(b, s, l)
		s.Kill()
		<-lock.Done()
		s.Restart()
		start := time.Now()
		next.add(acquired().Sub(start))
	}
	next.report(b, "next")
}

// BenchmarkFaultFrozenWaiter measures how long the one behind a frozen head of the
// queue waits for a lock that is free.
func BenchmarkFaultFrozenWaiter(b *testing.B) {
	s := redistest.Start(b)
	holder, l := openAlert(b, s.Addr, 3), openAlert(b, s.Addr, 3, locker.WithTimeout(bound))
	c := s.Client(nil)
	var next span
	for b.Loop() {
		lock, err := holder.Acquire(b.Context(), "n", locker.WithTimeout(bound))
		if err != nil {
			b.Fatal(err)
		}
		p := startChild(b, s.Addr)
		for c.LLen(b.Context(), "n:locker:queue").Val() == 0 {
			time.Sleep(time.Millisecond)
		}
		p.freeze()
		acquired := waiterFor(b, s, l)
		for c.LLen(b.Context(), "n:locker:queue").Val() < 2 {
			time.Sleep(time.Millisecond)
		}
		start := time.Now()
		if err := lock.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
		next.add(acquired().Sub(start))
		p.end()
	}
	next.report(b, "next")
}

// BenchmarkFaultFlushall measures how long 32 waiters take to be served, with
// FLUSHALL in the middle of it and without.
func BenchmarkFaultFlushall(b *testing.B) {
	s := redistest.Start(b)
	const waiters = 32
	lockers := make([]*redislock.Locker, waiters+1)
	for i := range lockers {
		lockers[i] = openAlert(b, s.Addr, 3, locker.WithTimeout(bound))
	}
	c := s.Client(nil)
	var without, with span
	for b.Loop() {
		for _, flush := range []bool{false, true} {
			lock, err := lockers[waiters].Acquire(b.Context(), "n")
			if err != nil {
				b.Fatal(err)
			}
			var all sync.WaitGroup
			for _, l := range lockers[:waiters] {
				all.Go(func() {
					lock, err := l.Acquire(b.Context(), "n")
					if err == nil {
						err = lock.Release(b.Context())
					}
					if err != nil {
						b.Error(err)
					}
				})
			}
			for c.LLen(b.Context(), "n:locker:queue").Val() < waiters {
				time.Sleep(time.Millisecond)
			}
			if flush {
				c.FlushAll(b.Context())
			}
			start := time.Now()
			if err := lock.Release(b.Context()); err != nil {
				b.Fatal(err)
			}
			all.Wait()
			if flush {
				with.add(time.Since(start))
			} else {
				without.add(time.Since(start))
			}
		}
	}
	without.report(b, "without")
	with.report(b, "with")
}
