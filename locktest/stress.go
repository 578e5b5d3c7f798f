package locktest

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) stress(t *testing.T) {
	s.test(t, "RandomTimeoutsAndCancels", stress)
}

// stress has many goroutines acquire few locks through several Lockers, with
// timeouts and cancels at random. Nobody is granted what another holds, and in the
// end nobody waits for a lock that is free.
func stress(p *place) {
	const goroutines, rounds = 6, 25
	names := []string{"daily-report", "weekly-report"}
	sections := make([]section, len(names))
	lockers := []locker.Locker{p.open(), p.open(), p.open()}
	seed := rand.Uint64()
	p.Logf("seed %d", seed)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var all sync.WaitGroup
	for i, l := range lockers {
		for j := range goroutines {
			random := rand.New(rand.NewPCG(seed, uint64(i*goroutines+j)))
			all.Go(func() {
				for range rounds {
					n := random.IntN(len(names))
					if err := sections[n].enterAtRandom(ctx, random, l, names[n]); err != nil {
						cancel(err)
						return
					}
				}
			})
		}
	}
	_ = p.call("the stress", func() error { all.Wait(); return nil })
	if err := context.Cause(ctx); err != nil {
		p.Fatal(err)
	}
	for _, name := range names {
		for _, l := range lockers {
			p.isFree(l, name)
		}
	}
	p.Logf("%d and %d visits in %d attempts", sections[0].visits.Load(), sections[1].visits.Load(), len(lockers)*goroutines*rounds)
}

// enterAtRandom makes an attempt to visit the section, which may fail where it
// gives up.
func (s *section) enterAtRandom(ctx context.Context, random *rand.Rand, l locker.Locker, name string) error {
	pause := func() time.Duration { return time.Duration(random.Int64N(int64(10 * time.Millisecond))) }
	opts := []locker.Option{locker.WithCheckInterval(time.Millisecond + pause())}
	switch random.IntN(5) {
	case 0:
		opts = append(opts, locker.WithTimeout(0))
	case 1:
		opts = append(opts, locker.WithFailWhenLocked(true))
	case 2:
		opts = append(opts, locker.WithTimeout(pause()))
	case 3:
		opts = append(opts, locker.WithTimeout(locker.NoTimeout))
	case 4:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pause())
		defer cancel()
		opts = append(opts, locker.WithTimeout(locker.NoTimeout))
	}
	lock, err := l.Acquire(ctx, name, opts...)
	switch {
	case err == nil:
	case errors.Is(err, locker.ErrAlreadyLocked), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil
	case tooShort(err):
		return nil
	default:
		return err
	}
	err = s.visit(lock)
	if random.IntN(2) == 0 {
		time.Sleep(pause() / 10)
	}
	released := lock.Release(ctx)
	if err == nil && ctx.Err() == nil {
		err = released
	}
	return err
}

// tooShort reports whether the timeout was too short for the first attempt to find
// out that the lock is held.
func tooShort(err error) bool {
	return errors.Is(err, locker.ErrUnavailable) && errors.Is(err, os.ErrDeadlineExceeded)
}
