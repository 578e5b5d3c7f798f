package redislock_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// Wake-ups and the pace of polls, where something comes in between.

// A host whose processes crash together: its connections end, and it dials no more.
type host struct {
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (h *host) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return nil, errors.New("host is down")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		h.conns = append(h.conns, c)
	}
	return c, err
}

func (h *host) crash() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = true
	for _, c := range h.conns {
		c.Close()
	}
}

func (h *host) locker(t *testing.T, s *redistest.Server, protocol int) *redislock.Locker {
	t.Helper()
	return openWith(t, s.Client(func(o *redis.Options) { o.Dialer, o.Protocol = h.dial, protocol }), calm, locker.WithTimeout(bound))
}

// slow returns the address of a proxy that delays each direction by d.
func slow(t *testing.T, s *redistest.Server, d time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	pipe := func(to, from net.Conn) {
		type chunk struct {
			at time.Time
			b  []byte
		}
		c := make(chan chunk, 10000)
		all.Go(func() {
			for x := range c {
				time.Sleep(time.Until(x.at))
				_, _ = to.Write(x.b)
			}
			to.Close()
		})
		for {
			b := make([]byte, 65536)
			n, err := from.Read(b)
			if n > 0 {
				c <- chunk{time.Now().Add(d), b[:n]}
			}
			if err != nil {
				close(c)
				return
			}
		}
	}
	all.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", s.Addr)
			if err != nil {
				a.Close()
				continue
			}
			all.Go(func() { pipe(b, a) })
			all.Go(func() { pipe(a, b) })
		}
	})
	return l.Addr().String()
}

// waiter has l wait for the lock n. What it sends is when it had the lock, which it
// has released.
func waiter(ctx context.Context, t *testing.T, l locker.Locker, checkInterval time.Duration) <-chan time.Time {
	t.Helper()
	acquired := make(chan time.Time, 1)
	go func() {
		defer close(acquired)
		lock, err := l.Acquire(ctx, "n", locker.WithTimeout(bound), locker.WithCheckInterval(checkInterval))
		if err != nil {
			return
		}
		acquired <- time.Now()
		_ = lock.Release(context.Background())
	}()
	return acquired
}

// got checks that a waiter has had the lock no later than most after start.
func got(t *testing.T, acquired <-chan time.Time, start time.Time, most time.Duration) {
	t.Helper()
	at, ok := <-acquired
	if waited := at.Sub(start); !ok || waited > most {
		t.Errorf("acquired: %v, after %v; want %v at most", ok, waited, most)
	}
}

// pace is a check interval, and paces is more than those near the front of the
// queue wait, and less than those behind them.
const (
	pace  = time.Second
	paces = 3 * pace
)

// When the waiters in the midst of the queue die, those behind them look as often as
// their new place wants.
func TestDeadInTheMiddleOfTheQueue(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		held := acquire(t, open(t, s.Addr, protocol), "n")
		var one, crowd host
		next := make(chan locker.Lock, 1)
		l := one.locker(t, s, protocol)
		go func() { next <- acquire(t, l, "n", locker.WithCheckInterval(pace)) }()
		queued(t, s, "n", 1)
		for i := range 5 {
			waiter(t.Context(), t, crowd.locker(t, s, protocol), pace)
			queued(t, s, "n", int64(i+2))
		}
		last := waiter(t.Context(), t, open(t, s.Addr, protocol), pace)
		queued(t, s, "n", 7)
		crowd.crash()
		poll(t, "the waiters to be gone", func() bool { return len(s.Do("PUBSUB", "CHANNELS", "n:w:*").([]any)) == 2 })
		release(t, held)
		<-next
		one.crash()
		got(t, last, time.Now(), paces)
	})
}

// One whose place has changed before it hears the messages to those who wait looks as
// often as its new place wants.
func TestMovedUpBeforeWaiting(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var dies host
	acquire(t, dies.locker(t, s, 3), "n")
	ctx, cancel := context.WithCancel(t.Context())
	var left sync.WaitGroup
	for i := range 6 {
		l := open(t, s.Addr, 3)
		left.Go(func() { <-waiter(ctx, t, l, pace) })
		queued(t, s, "n", int64(i+1))
	}
	l := open(t, slow(t, s, 60*time.Millisecond), 3)
	release(t, acquire(t, l, "other"))
	last := waiter(t.Context(), t, l, pace)
	queued(t, s, "n", 7)
	cancel()
	left.Wait()
	queued(t, s, "n", 1)
	poll(t, "the last one to wait", func() bool { return len(s.Do("PUBSUB", "CHANNELS", "n:w:*").([]any)) == 1 })
	dies.crash()
	got(t, last, time.Now(), paces)
}

// A claim that was refused is on the channel for a moment longer. Who gives way to
// it is told when it leaves.
func TestGivingWayToOneWhoLeaves(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		x := open(t, slow(t, s, 80*time.Millisecond), protocol)
		release(t, acquire(t, x, "other"))
		held := acquire(t, open(t, s.Addr, protocol), "n")
		next := waiter(t.Context(), t, open(t, s.Addr, protocol), time.Hour)
		queued(t, s, "n", 1)
		others := int64(1)
		if protocol == 3 { // the waiter stands by
			others = 2
		}
		poll(t, "the claim of the waiter to end", func() bool {
			return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == others && len(s.Do("PUBSUB", "CHANNELS", "n:w:*").([]any)) == 1
		})
		tried := make(chan error)
		go func() {
			lock, err := x.Acquire(t.Context(), "n", noWait)
			if err == nil { // its script came so late that the lock was free
				t.Log("not refused")
				err = lock.Release(t.Context())
			}
			tried <- err
		}()
		poll(t, "the claim", func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == others+1 })
		release(t, held)
		got(t, next, time.Now(), bound)
		<-tried
	})
}

// The same, where the one who waits has come after the holder had gone, and has looked
// instead of claiming: no holder tells it, and the claim knows of it by its ping.
func TestWaitingForOneWhoLeaves(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		x := open(t, slow(t, s, 80*time.Millisecond), protocol)
		release(t, acquire(t, x, "other"))
		l := open(t, s.Addr, protocol)
		first := acquire(t, open(t, s.Addr, protocol), "n")
		if _, err := l.Acquire(t.Context(), "n", noWait); err == nil {
			t.Fatal("acquired a lock that is held") // from now on l looks before it claims
		}
		release(t, first)
		held := acquire(t, l, "n", locker.WithCheckInterval(time.Hour))
		tried := make(chan error)
		go func() {
			lock, err := x.Acquire(t.Context(), "n", noWait)
			if err == nil { // its script came so late that the lock was free
				t.Log("not refused")
				err = lock.Release(t.Context())
			}
			tried <- err
		}()
		poll(t, "the claim", func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == int64(2) })
		release(t, held)
		got(t, waiter(t.Context(), t, l, time.Hour), time.Now(), bound)
		<-tried
	})
}

// One who listens to everything (PSUBSCRIBE) keeps no wake-up from those whom it is
// for.
func TestPatternSubscriber(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	everything := s.Client(nil).PSubscribe(t.Context(), "*")
	defer everything.Close()
	if _, err := everything.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := open(t, slow(t, s, 40*time.Millisecond), 3)
	release(t, acquire(t, l, "other"))
	held := acquire(t, open(t, s.Addr, 3), "n")
	next := waiter(t.Context(), t, l, time.Hour)
	queued(t, s, "n", 1) // but not yet subscribed to its wait channel
	release(t, held)
	got(t, next, time.Now(), bound)
}
