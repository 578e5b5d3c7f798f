package memlock

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// BenchmarkWaiters measures what an Acquire costs while many wait for the same name, as
// ns/waiter: it must not grow with their number.
func BenchmarkWaiters(b *testing.B) {
	for _, way := range []struct {
		name string
		run  func(*waitlist)
	}{
		{"Served", (*waitlist).serve},
		{"Refused", (*waitlist).refuse},
		{"GivesUp", (*waitlist).giveUp},
		{"Closed", (*waitlist).close},
	} {
		for _, waiters := range []int{10, 1_000, 10_000, 50_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", way.name, waiters), func(b *testing.B) {
				var took time.Duration
				for b.Loop() {
					l := newWaitlist(b, waiters)
					began := time.Now()
					way.run(l)
					took += time.Since(began)
					l.end()
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*waiters), "ns/waiter")
				b.ReportMetric(0, "ns/op") // most of it is the making of the waitlist
			})
		}
	}
}

// A waitlist is a held lock and those who wait for it.
type waitlist struct {
	*testing.B
	locker  *Locker
	held    locker.Lock
	cancels []context.CancelFunc // one for each waiter
	waiters sync.WaitGroup
}

// newWaitlist returns a waitlist in which all waiters have their place.
func newWaitlist(b *testing.B, waiters int) *waitlist {
	l := &waitlist{B: b, locker: New(locker.WithTimeout(locker.NoTimeout))}
	var err error
	if l.held, err = l.locker.Acquire(context.Background(), "name"); err != nil {
		b.Fatal(err)
	}
	for range waiters {
		ctx, cancel := context.WithCancel(context.Background())
		l.cancels = append(l.cancels, cancel)
		l.waiters.Go(func() {
			if lock, err := l.locker.Acquire(ctx, "name"); err == nil {
				_ = lock.Release(ctx)
			}
		})
	}
	for {
		info, err := l.locker.Inspect(context.Background(), "name")
		if err != nil {
			b.Fatal(err)
		}
		if info.Waiters == waiters {
			return l
		}
		runtime.Gosched()
	}
}

// serve passes the lock through the waitlist.
func (l *waitlist) serve() {
	_ = l.held.Release(context.Background())
	l.waiters.Wait()
}

// refuse has as many come as wait, who do not wait.
func (l *waitlist) refuse() {
	for range l.cancels {
		if _, err := l.locker.Acquire(context.Background(), "name", locker.WithTimeout(0)); err == nil {
			l.Fatal("acquired a lock that is held")
		}
	}
}

// giveUp ends the waiters from the middle of the waitlist to its end, and from there to
// the front.
func (l *waitlist) giveUp() {
	half := len(l.cancels) / 2
	for _, cancel := range l.cancels[half:] {
		cancel()
	}
	for i := half - 1; i >= 0; i-- {
		l.cancels[i]()
	}
	l.waiters.Wait()
}

func (l *waitlist) close() {
	_ = l.locker.Close()
	l.waiters.Wait()
}

func (l *waitlist) end() {
	_ = l.locker.Close()
	l.waiters.Wait()
	for _, cancel := range l.cancels {
		cancel()
	}
}
