package redislock_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// Those who hang keep nobody from the lock, wherever they stand.

// waitFor acquires the lock n.
func waitFor(t *testing.T, l locker.Locker, what string) (acquired chan locker.Lock) {
	t.Helper()
	acquired = make(chan locker.Lock, 1)
	go func() {
		lock, err := l.Acquire(t.Context(), "n", locker.WithTimeout(2*bound))
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		acquired <- lock
	}()
	return acquired
}

// releaseEach has all who wait be served, in their order, and says how long that has taken
// since a moment.
func releaseEach(t *testing.T, since time.Time, waiting []chan locker.Lock) {
	t.Helper()
	for _, acquired := range waiting {
		lock := <-acquired
		if lock == nil {
			t.FailNow()
		}
		t.Logf("after %v", time.Since(since).Round(time.Millisecond))
		release(t, lock)
	}
}

func TestFrozenHolderAndWaiters(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for _, frozen := range []int{1, 2, 5} {
			t.Run(fmt.Sprint(frozen), func(t *testing.T) {
				t.Parallel()
				s := redistest.Start(t)
				processes := []*process{startChild(t, s.Addr)}
				processes[0].says("held")
				for i := range frozen {
					processes = append(processes, startChild(t, s.Addr))
					queued(t, s, "n", int64(i+1))
				}
				var waiting []chan locker.Lock
				for i := range 3 {
					waiting = append(waiting, waitFor(t, openAlert(t, s.Addr, protocol), "the holder and those before it frozen"))
					queued(t, s, "n", int64(frozen+i+1))
				}
				since := time.Now()
				for _, p := range processes {
					p.freeze()
				}
				releaseEach(t, since, waiting)
			})
		}
	})
}

func TestFrozenWaitersAndDeadHolder(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for _, frozen := range []int{1, 2, 5} {
			t.Run(fmt.Sprint(frozen), func(t *testing.T) {
				t.Parallel()
				s := redistest.Start(t)
				holder := startChild(t, s.Addr)
				holder.says("held")
				var processes []*process
				for i := range frozen {
					processes = append(processes, startChild(t, s.Addr))
					queued(t, s, "n", int64(i+1))
				}
				waiting := []chan locker.Lock{waitFor(t, openAlert(t, s.Addr, protocol), "those before it frozen, the holder killed")}
				queued(t, s, "n", int64(frozen+1))
				for _, p := range processes {
					p.freeze()
				}
				since := time.Now()
				holder.end()
				releaseEach(t, since, waiting)
			})
		}
	})
}

// How often those before one look is their own matter.
func TestFrozenHolderAndWaitersThatSeldomLook(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		holder := startChild(t, s.Addr)
		holder.says("held")
		var waiting []chan locker.Lock
		for i := range 3 {
			var opts []locker.Option
			if i < 2 {
				opts = append(opts, locker.WithCheckInterval(time.Hour))
			}
			waiting = append(waiting, waitFor(t, openAlert(t, s.Addr, protocol, opts...), "the holder frozen"))
			queued(t, s, "n", int64(i+1))
		}
		since := time.Now()
		holder.freeze()
		releaseEach(t, since, waiting)
	})
}

// Where many die with the holder, the next one notices soon, however far behind it is.
func TestManyDieTogether(t *testing.T) {
	t.Parallel()
	const many = 80
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		p := startChildWith(t, s.Addr, waitersVariable+"=80")
		p.says("held")
		queued(t, s, "n", many)
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		l := openAlert(t, s.Addr, protocol)
		acquired := make(chan error, 1)
		go func() {
			_, err := l.Acquire(ctx, "n", locker.WithTimeout(locker.NoTimeout))
			acquired <- err
		}()
		queued(t, s, "n", many+1)
		since := time.Now()
		p.end()
		if err := <-acquired; err != nil {
			t.Fatal(err)
		}
		took := time.Since(since)
		t.Logf("after %v", took.Round(time.Millisecond))
		if took > bound/2 { // it is two seconds: twenty, where it looks the more seldom the more there are
			t.Errorf("a lock that was free was left for %v", took)
		}
	})
}
