package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// standsBy waits until somebody stands by for the lock n, and returns its session's id.
func standsBy(t *testing.T, s *redistest.Server) (id string) {
	t.Helper()
	poll(t, "somebody to stand by", func() bool {
		hint, _ := s.Do("GET", "n:locker:standby").(string)
		if id, _, _ = strings.Cut(hint, " "); len(id) != 32 {
			return false
		}
		on := s.Do("PUBSUB", "NUMSUB", "n", "n:h:"+id, "n:w:"+id).([]any)
		return on[1] == int64(2) && on[3] == int64(1) && on[5] == int64(1)
	})
	return id
}

// inBackground acquires the lock n.
func inBackground(ctx context.Context, t *testing.T, l locker.Locker, opts ...locker.Option) <-chan locker.Lock {
	t.Helper()
	return inBackgroundNamed(ctx, t, l, "n", opts...)
}

func inBackgroundNamed(ctx context.Context, t *testing.T, l locker.Locker, name string, opts ...locker.Option) <-chan locker.Lock {
	t.Helper()
	got := make(chan locker.Lock, 1)
	go func() {
		defer close(got)
		lock, err := l.Acquire(ctx, name, append(opts, locker.WithTimeout(bound))...)
		if err == nil {
			got <- lock
		} else if ctx.Err() == nil {
			t.Error(err)
		}
	}()
	return got
}

// releaseBoth releases the locks that two have acquired, one after the other.
func releaseBoth(t *testing.T, first, second <-chan locker.Lock) {
	t.Helper()
	for range 2 {
		select {
		case lock := <-first:
			first = nil
			release(t, lock)
		case lock := <-second:
			second = nil
			release(t, lock)
		}
	}
}

// One that stands by is given the lock: it sends nothing for it. What the message said
// is true: who waits behind it is told when it releases.
func TestStandbyIsGivenTheLock(t *testing.T) {
	t.Parallel()
	var m meter
	s := redistest.Start(t)
	held := acquire(t, open(t, s.Addr, 3), "n")
	next := inBackground(t.Context(), t, openWith(t, s.Client(m.options), calm), locker.WithCheckInterval(time.Hour))
	standsBy(t, s)
	commands := m.commands.Load()
	release(t, held)
	lock := <-next
	if n := m.commands.Load() - commands; n > 1 {
		t.Errorf("%d commands, want none, or a heartbeat", n)
	}
	if lock.Token() <= held.Token() {
		t.Errorf("token %d after %d", lock.Token(), held.Token())
	}
	last := inBackground(t.Context(), t, open(t, s.Addr, 3), locker.WithCheckInterval(time.Hour))
	queued(t, s, "n", 1)
	release(t, lock)
	release(t, <-last)
}

// What was given counts from the latest look of the one that stands by. If that is long
// ago, it asks the server whether it is still there before it holds the lock.
func TestStandbyPastItsLease(t *testing.T) {
	t.Parallel()
	var m meter
	s := redistest.Start(t)
	const patience = 200 * time.Millisecond
	o := &redislock.Options{UnavailableTimeout: patience}
	held := acquire(t, open(t, s.Addr, 3), "n")
	next := inBackground(t.Context(), t, openWith(t, s.Client(m.options), o), locker.WithCheckInterval(time.Hour))
	standsBy(t, s)
	time.Sleep(patience)
	commands := m.commands.Load()
	release(t, held)
	lock := <-next
	if n := m.commands.Load() - commands; n < 1 {
		t.Error("it has taken the lock without a word to the server")
	}
	if err := lock.Err(); err != nil {
		t.Error(err)
	}
	release(t, lock)
}

// One that stands by gives up just when it is given the lock: then the next one has it.
func TestStandbyGivesUp(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	lockers := make([]*redislock.Locker, 3)
	for i := range lockers {
		lockers[i] = open(t, s.Addr, 3, locker.WithCheckInterval(time.Hour))
	}
	var taken, left int
	for i := range 200 {
		held := acquire(t, lockers[0], "n")
		ctx, cancel := context.WithCancel(t.Context())
		first := inBackground(ctx, t, lockers[1])
		queued(t, s, "n", 1)
		last := inBackground(t.Context(), t, lockers[2])
		queued(t, s, "n", 2)
		var both sync.WaitGroup
		both.Go(func() {
			time.Sleep(time.Duration(i) * 3 * time.Microsecond)
			cancel()
		})
		release(t, held)
		both.Wait()
		if lock, ok := <-first; ok {
			taken++
			release(t, lock)
		} else {
			left++
		}
		release(t, <-last)
	}
	t.Logf("taken %d times, left %d times", taken, left)
}

// One that stands by leaves the channel to one of portalocker's processes that asks, and
// does not say that it is about to have the lock, which would have that one take it.
func TestStandbyLeavesToPortalocker(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	holder := open(t, s.Addr, 3)
	held := acquire(t, holder, "n")
	next := inBackground(t.Context(), t, open(t, s.Addr, 3))
	standsBy(t, s)
	reply := "n-" + strings.Repeat("0f", 16)
	answers := listen(t, s, reply)
	s.Do("PUBLISH", "n", fmt.Sprintf(`{"response_channel": %q, "message": "ping"}`, reply))
	for range 2 {
		if m := receive(t, answers); !strings.Contains(m.Payload, `"exclusive"`) {
			t.Errorf("answer %q", m.Payload)
		}
	}
	subscribers := func(n int64) func() bool {
		return func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == n }
	}
	poll(t, "the one that stood by to leave", subscribers(1))
	release(t, held)
	poll(t, "the lock to be left", subscribers(0))
	release(t, <-next)
}

// A lock that is released and left to portalocker's processes is left by the one that
// stands by, too, which has not heard them ask.
func TestStandbyLeavesInTime(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	held := acquire(t, open(t, s.Addr, 3), "n")
	reply := "n-" + strings.Repeat("0f", 16)
	answers := listen(t, s, reply)
	s.Do("PUBLISH", "n", fmt.Sprintf(`{"response_channel": %q, "message": "ping"}`, reply))
	receive(t, answers)
	next := inBackground(t.Context(), t, open(t, s.Addr, 3))
	standsBy(t, s)
	release(t, held)
	poll(t, "the channel to be empty", func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == int64(0) })
	release(t, <-next)
}

// Whoever stands by while nobody holds the lock, as the holder has died, is no holder;
// and it takes the lock when somebody else looks at it.
func TestStandbyAlone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, s.Addr, 3)
	acquire(t, l, "n")
	next := inBackground(t.Context(), t, open(t, s.Addr, 3), locker.WithCheckInterval(time.Hour))
	standsBy(t, s)
	s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n"))
	observer := open(t, s.Addr, 3)
	if info := inspect(t, observer, "n"); info.Held || info.Waiters != 1 {
		t.Errorf("%+v, want a free lock and one who waits", info)
	}
	if _, err := observer.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Errorf("%v, want ErrAlreadyLocked: another is before it", err)
	}
	release(t, <-next)
}

// Of two that stand by, as the queue was lost, one leaves the channel; and both get the
// lock.
func TestStandbyTwice(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	held := acquire(t, open(t, s.Addr, 3), "n")
	first := inBackground(t.Context(), t, open(t, s.Addr, 3), locker.WithCheckInterval(time.Hour))
	standsBy(t, s)
	s.Do("DEL", "n:locker:queue")
	second := inBackground(t.Context(), t, open(t, s.Addr, 3), locker.WithCheckInterval(50*time.Millisecond))
	poll(t, "both to stand by", func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == int64(3) })
	release(t, held)
	releaseBoth(t, first, second)
}

// What is in n:locker:standby gives the lock to nobody who does not stand by.
func TestStandbyIsAHint(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := open(t, s.Addr, 3), open(t, s.Addr, 3)
	for _, forged := range []string{"%s 0 3600 10000 750000 run 1 1 1 host", "%s 0 1 0 0 run 1 1 1 host", strings.Repeat("e", 32) + " 0 3600 10000 750000 run 1 1 1 host"} {
		s.Do("DEL", "n:locker:standby")
		held := acquire(t, a, "n")
		next := inBackground(t.Context(), t, b)
		id := standsBy(t, s)
		s.Do("SET", "n:locker:standby", strings.ReplaceAll(forged, "%s", id))
		release(t, held)
		lock := <-next
		if held.Token() >= lock.Token() {
			t.Errorf("token %d after %d", lock.Token(), held.Token())
		}
		if _, err := a.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
			t.Errorf("with %q: %v", forged, err)
		}
		release(t, lock)
	}
}

// Two wait for so long that a gift to the first is no proof any more, as nobody has looked
// meanwhile, also where messages take their time and cross each other: it is served first
// all the same.
func TestStandbyKeepsTheOrder(t *testing.T) {
	t.Parallel()
	const patience = 200 * time.Millisecond
	for _, delay := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			s := redistest.Start(t)
			addr := s.Addr
			if delay > 0 {
				addr = slow(t, s, delay)
			}
			o := &redislock.Options{UnavailableTimeout: patience}
			first := openWith(t, redistest.Client(t, addr, nil), o, locker.WithCheckInterval(time.Hour))
			second := openWith(t, redistest.Client(t, addr, nil), o, locker.WithCheckInterval(time.Hour))
			holder := open(t, s.Addr, 3)
			for range 5 {
				held := acquire(t, holder, "n")
				one := inBackground(t.Context(), t, first)
				queued(t, s, "n", 1)
				two := inBackground(t.Context(), t, second)
				queued(t, s, "n", 2)
				time.Sleep(patience)
				release(t, held)
				select {
				case lock := <-one:
					release(t, lock)
					release(t, <-two)
				case lock := <-two:
					t.Error("the second was served first")
					release(t, lock)
					release(t, <-one)
				}
			}
		})
	}
}

// When the queue is lost, the one that stands by does not keep those behind it from the
// lock until it looks.
func TestStandbyWithoutAQueue(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for what, spoil := range map[string]func(*redistest.Server, locker.Lock){
			"release": func(_ *redistest.Server, held locker.Lock) { release(t, held) },
			"crash":   func(s *redistest.Server, _ locker.Lock) { s.Do("CLIENT", "KILL", "ID", holderClient(t, s, "n")) },
		} {
			t.Run(what, func(t *testing.T) {
				s := redistest.Start(t)
				held := acquire(t, open(t, s.Addr, 3), "n")
				first := inBackground(t.Context(), t, open(t, s.Addr, 3), locker.WithCheckInterval(time.Hour))
				standsBy(t, s)
				second := inBackground(t.Context(), t, open(t, s.Addr, protocol), locker.WithCheckInterval(50*time.Millisecond))
				queued(t, s, "n", 2)
				s.Do("DEL", "n:locker:queue")
				spoil(s, held)
				releaseBoth(t, first, second)
			})
		}
	})
}

// Break takes the lock from its holder, also when all keys were lost, and costs the one
// that stands by none of its locks.
func TestBreakWhileOneStandsBy(t *testing.T) {
	t.Parallel()
	for what, spoil := range map[string][]any{"nothing": {"PING"}, "FLUSHALL": {"FLUSHALL"}, "no hint": {"DEL", "n:locker:holder"}} {
		t.Run(what, func(t *testing.T) {
			s := redistest.Start(t)
			held := acquire(t, open(t, s.Addr, 3), "n")
			l := open(t, s.Addr, 3)
			other := acquire(t, l, "other")
			next := inBackground(t.Context(), t, l, locker.WithCheckInterval(time.Hour))
			standsBy(t, s)
			s.Do(spoil...)
			breaker := open(t, s.Addr, 3)
			if err := breaker.Break(t.Context(), "n"); err != nil {
				t.Error(err)
			}
			if err := held.Err(); !errors.Is(err, locker.ErrLost) {
				t.Errorf("the holder's Err: %v, want ErrLost", err)
			}
			if err := other.Err(); err != nil {
				t.Errorf("the other lock of the one that stands by: %v", err)
			}
			release(t, <-next)
			release(t, other)
		})
	}
}
