package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

// One who does not wait is told of an outage, also behind one who waits it out.
func TestTimeoutZeroDuringOutage(t *testing.T) {
	for name, opts := range map[string][]locker.Option{
		"timeout 0":        {locker.WithTimeout(0)},
		"fail when locked": {locker.WithFailWhenLocked(true), locker.WithTimeout(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				outage := errors.New("connection refused")
				var down atomic.Bool
				l := locker.NewBase(&fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
					if down.Load() {
						return locker.Grant{}, outage
					}
					return locker.Grant{Token: 1}, nil
				}})
				lock, err := l.Acquire(t.Context(), "x")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				waited := make(chan error)
				go func() {
					_, err := l.Acquire(ctx, "x", locker.WithTimeout(locker.NoTimeout))
					waited <- err
				}()
				synctest.Wait()
				down.Store(true)
				_ = lock.Release(t.Context())
				synctest.Wait()
				start := time.Now()
				_, err = l.Acquire(t.Context(), "x", opts...)
				if !errors.Is(err, locker.ErrUnavailable) || !errors.Is(err, outage) {
					t.Errorf("Acquire: %v, want ErrUnavailable and its cause", err)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("Acquire has waited for %v", waited)
				}
				cancel()
				if err := <-waited; !errors.Is(err, context.Canceled) {
					t.Errorf("the one who waits it out: %v", err)
				}
			})
		})
	}
}

// FailWhenLocked never times out: it has not waited.
func TestFailWhenLockedAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := locker.NewBase(&fake{try: func(ctx context.Context, _ *locker.Attempt) (locker.Grant, error) {
			<-ctx.Done()
			return locker.Grant{}, locker.ErrAlreadyLocked
		}})
		_, err := l.Acquire(t.Context(), "x", locker.WithTimeout(time.Second), locker.WithFailWhenLocked(true))
		if !errors.Is(err, locker.ErrAlreadyLocked) || errors.Is(err, locker.ErrTimeout) {
			t.Errorf("Acquire: %v, want ErrAlreadyLocked alone", err)
		}
	})
}

// The Driver is closed when nothing is under way, whichever of the Lockers on it is
// closed last.
func TestDriverIsClosedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		d := &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
			return locker.Grant{Token: 1, Hold: &hold{release: func(context.Context) error { <-goOn; return nil }}}, nil
		}}
		a := locker.NewBase(d)
		b := a.With()
		if _, err := a.Acquire(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		go a.Close()
		synctest.Wait()
		go b.Close()
		synctest.Wait()
		if d.closed.Load() > 0 {
			t.Error("the Driver is closed while a Release is under way")
		}
		close(goOn)
		synctest.Wait()
		if n := d.closed.Load(); n != 1 {
			t.Errorf("the Driver was closed %d times", n)
		}
	})
}

// Close waits for the look for a loss that is under way.
func TestCloseWaitsForChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		d := &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
			return locker.Grant{Token: 1, Hold: &hold{check: func() error { <-goOn; return nil }}}, nil
		}}
		l := locker.NewBase(d)
		lock, err := l.Acquire(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		lock.Done()
		time.Sleep(250 * time.Millisecond)
		synctest.Wait() // until the Check has begun
		closed := make(chan struct{})
		go func() { l.Close(); close(closed) }()
		synctest.Wait()
		if d.closed.Load() > 0 {
			t.Error("the Driver is closed while a Check is under way")
		}
		close(goOn)
		<-closed
	})
}

// A Driver may be made of a Locker: what ends the outer Acquire is no timeout of the
// inner one, and no Close.
func TestLockerInLocker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := locker.NewBase(attempts(locker.ErrAlreadyLocked), locker.WithTimeout(locker.NoTimeout))
		var got error
		outer := locker.NewBase(&fake{try: func(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
			_, got = inner.Acquire(ctx, a.Name)
			return locker.Grant{}, got
		}})
		_, _ = outer.Acquire(t.Context(), "x", locker.WithTimeout(time.Second))
		if !errors.Is(got, context.DeadlineExceeded) || errors.Is(got, locker.ErrTimeout) {
			t.Errorf("the inner Acquire at the timeout of the outer: %v", got)
		}
		time.AfterFunc(time.Second, func() { outer.Close() })
		_, _ = outer.Acquire(t.Context(), "x")
		if !errors.Is(got, context.Canceled) || errors.Is(got, locker.ErrClosed) {
			t.Errorf("the inner Acquire at the Close of the outer: %v", got)
		}
	})
}
