package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// Those who wait for a server that cannot be reached leave it alone for longer and longer, up
// to a second, and all of a process come back in one moment.
func TestPauseGrows(t *testing.T) {
	t.Parallel()
	const interval = 100 * time.Millisecond
	p := NewPool(nil)
	for i, longest := range []time.Duration{interval, 2 * interval, 4 * interval, 8 * interval, time.Second, time.Second} {
		p.failure = failure{count: i + 1}
		first := p.pause(interval)
		if first < longest/2 || first > longest {
			t.Errorf("after %d failures: %v, want %v to %v", i+1, first, longest/2, longest)
		}
		if next := p.pause(interval); next > first || next < first-longest/4 {
			t.Errorf("after %d failures: another waits for %v, the first for %v", i+1, next, first)
		}
	}
	p.failure = failure{count: 100}
	if got := p.pause(24 * time.Hour); got < 12*time.Hour || got > 24*time.Hour {
		t.Errorf("with a check interval of a day: %v", got)
	}
}

// The many Acquires of a process that has lost its server dial it a few times a second, and
// wait on when it is back.
func TestManyWaitForAServer(t *testing.T) {
	t.Parallel()
	const waiters = 200
	s := redistest.Start(t)
	var away atomic.Bool
	var dials atomic.Int64
	user := s.Client(func(o *redis.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if away.Load() {
				dials.Add(1)
				return nil, errors.New("nobody answers")
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}).Options()
	holder, _ := openWith(t, s.Client(nil).Options(), calm)
	l, d := openWith(t, user, calm, locker.WithTimeout(locker.NoTimeout), locker.WithCheckInterval(200*time.Millisecond))
	held := make([]locker.Lock, waiters)
	served := make(chan error, waiters)
	for i := range held {
		var err error
		if held[i], err = holder.Acquire(t.Context(), fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
		go func() {
			lock, err := l.Acquire(t.Context(), fmt.Sprint("n", i))
			if err == nil {
				err = lock.Release(context.WithoutCancel(t.Context()))
			}
			served <- err
		}()
	}
	for i := range held {
		for s.Do("LLEN", fmt.Sprintf("n%d:locker:queue", i)) != int64(1) {
			time.Sleep(time.Millisecond)
		}
	}
	away.Store(true)
	began := time.Now()
	d.session(t, "n").end(errors.New("cut"))
	for dials.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	if n := dials.Load(); n > waiters/4 { // one for each that waits, each time, would be a thousand
		t.Errorf("it is dialed %d times in %v", n, time.Since(began))
	}
	away.Store(false)
	for _, lock := range held {
		if err := lock.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for range waiters {
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
}
