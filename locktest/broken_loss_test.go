package locktest_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/golocker/locker"
)

func brokenLosses() []broken {
	untold := losing(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, done: make(chan struct{}), err: func() error { return nil }}
	})
	toldAsRelease := losing(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, err: func() error {
			if lock.Err() != nil {
				return locker.ErrReleased
			}
			return nil
		}}
	})
	hidden := losing(func(lock locker.Lock) locker.Lock {
		return &changed{Lock: lock, release: func(ctx context.Context) error {
			if err := lock.Release(ctx); !errors.Is(err, locker.ErrLost) {
				return err
			}
			return nil
		}}
	})
	freesSuccessor := thirdParty()
	freesSuccessor.Open = func(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
		l := openThirdParty(addr, opts...)
		return &wrapped{Locker: l, acquire: breakLocks(l, func(lock locker.Lock) locker.Lock {
			return &changed{Lock: lock, release: func(ctx context.Context) error {
				err := lock.Release(ctx)
				if errors.Is(err, locker.ErrLost) {
					_ = os.Remove(thirdPartyDriver{addr}.path(lock.Name(), "lock"))
				}
				return err
			}}
		})}
	}
	tokenLost := thirdParty()
	sever := tokenLost.Break
	tokenLost.Break = func(t testing.TB, addr string, held locker.Lock) {
		sever(t, addr, held)
		if err := os.Remove(thirdPartyDriver{addr}.path(held.Name(), "token")); err != nil {
			t.Fatal(err)
		}
	}
	closeFails := thirdParty()
	closeFails.Open = func(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
		l := openThirdParty(addr, opts...)
		var latest atomic.Pointer[locker.Lock]
		return &wrapped{
			Locker:  l,
			acquire: breakLocks(l, func(lock locker.Lock) locker.Lock { latest.Store(&lock); return lock }),
			close: func() error {
				defer l.Close()
				if lock := latest.Load(); lock != nil && errors.Is((*lock).Err(), locker.ErrLost) {
					return (*lock).Err()
				}
				return nil
			},
		}
	}
	endsWaiters := thirdParty()
	endsWaiters.Open = func(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
		l := openThirdParty(addr, opts...)
		return &wrapped{Locker: l, acquire: endingWithHolder(l)}
	}
	return []broken{
		{"close-fails-after-a-loss", "Loss/CloseAfterIt", closeFails},
		{"loss-ends-waiters", "Loss/WaitersGoOn", endsWaiters},
		{"loss-is-not-told", "Loss/IsTold", untold},
		{"loss-cancels-nothing", "Loss/CancelsContext", untold},
		{"loss-is-told-as-release", "Loss/IsTold", toldAsRelease},
		{"release-hides-a-loss", "Loss/ReleaseReportsIt", hidden},
		{"do-cannot-see-a-loss", "Loss/DoReportsIt", hidden},
		{"lost-lock-frees-the-successor", "Loss/NextHoldHasGreaterToken", freesSuccessor},
		{"token-is-lost-with-the-lock", "Loss/NextHoldHasGreaterToken", tokenLost},
	}
}

// endingWithHolder ends those who wait when a lock of the Locker is lost.
func endingWithHolder(l locker.Locker) acquireFunc {
	var latest atomic.Pointer[locker.Lock]
	return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
		holder := latest.Load()
		lock, err := l.Acquire(ctx, name, opts...)
		if err != nil {
			return nil, err
		}
		if holder != nil && errors.Is((*holder).Err(), locker.ErrLost) {
			_ = lock.Release(ctx)
			return nil, &locker.Error{Op: "acquire", Backend: "third party", Name: name, Err: locker.ErrUnavailable}
		}
		latest.Store(&lock)
		return lock, nil
	}
}
