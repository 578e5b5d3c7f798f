package locker_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/golocker/locker"
)

// A Driver that panics, or ends the goroutine as t.FailNow does, keeps nobody else from
// the lock, and Close from nothing. A panic reaches the caller.
func TestDriverPanics(t *testing.T) {
	doPanic, goexit := func() { panic("out of order") }, runtime.Goexit
	for _, c := range []struct {
		name         string
		tries, gives func() // what breaks: the first Try, the first Release
		withCtx      bool   // the Release has a ctx that can end
		panics       bool
	}{
		{"panic in Try", doPanic, nil, false, true},
		{"goexit in Try", goexit, nil, false, false},
		{"panic in Release", nil, doPanic, false, true},
		{"goexit in Release", nil, goexit, false, false},
		{"goexit in a Release with a ctx", nil, goexit, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				goOn := make(chan struct{})
				tries := 0
				d := &fake{try: func(context.Context, *locker.Attempt) (locker.Grant, error) {
					tries++
					first := tries == 1
					if first && c.tries != nil {
						<-goOn
						c.tries()
					}
					return locker.Grant{Token: 1, Hold: &hold{release: func(context.Context) error {
						if first && c.gives != nil {
							c.gives()
						}
						return nil
					}}}, nil
				}}
				l := locker.NewBase(d, locker.WithTimeout(locker.NoTimeout))
				ctx := context.Background()
				if c.withCtx {
					ctx = t.Context()
				}
				recovered := make(chan any, 1)
				go func() {
					var got any
					defer func() { recovered <- got }()
					defer func() { got = recover() }()
					lock, err := l.Acquire(ctx, "x")
					if err != nil {
						t.Error(err)
						return
					}
					<-goOn
					defer func() {
						if err := lock.Release(ctx); !errors.Is(err, locker.ErrUnavailable) {
							t.Errorf("Release: %v, want ErrUnavailable", err)
						}
					}()
					_ = lock.Release(ctx)
				}()
				synctest.Wait() // until it is in Try, or holds the lock
				next := make(chan error, 1)
				go func() {
					lock, err := l.Acquire(context.Background(), "x")
					if err == nil {
						err = lock.Release(context.Background())
					}
					next <- err
				}()
				synctest.Wait() // until it waits
				close(goOn)
				if got := <-recovered; (got != nil) != c.panics {
					t.Errorf("recovered %v", got)
				}
				if err := <-next; err != nil {
					t.Errorf("the next one: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if n := d.closed.Load(); n != 1 {
					t.Errorf("the Driver was closed %d times", n)
				}
			})
		})
	}
}
