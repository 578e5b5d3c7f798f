package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// A holder is told before the next one holds, and keeps its other locks.
func TestBreakIsToldFirst(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		holder, next, operator := open(t, s.Addr, protocol), open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		kept := acquire(t, holder, "kept")
		for range 50 {
			lock := acquire(t, holder, "n")
			done := lock.Done()
			waits := make(chan struct{})
			told := make(chan bool, 1)
			go func() {
				successor, err := next.Acquire(&watched{Context: context.Background(), waits: waits}, "n", locker.WithTimeout(bound))
				first := false
				select {
				case <-done:
					first = true
				default:
				}
				if err != nil {
					t.Error(err)
				} else {
					release(t, successor)
				}
				told <- first
			}()
			await(t, "the next one waits", waits)
			if err := operator.Break(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			if !<-told {
				t.Error("the next one holds, and the one before does not know")
			}
			if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Release: %v, want ErrLost", err)
			}
		}
		if err := kept.Err(); err != nil {
			t.Errorf("the holder's other lock: %v", err)
		}
		release(t, kept)
	})
}

// A Break that meets a release, or the next hold, takes no other hold than it saw.
func TestBreakMeetsRelease(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		l, operator := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		var lost, released int
		for i := range 300 {
			lock := acquire(t, l, "n")
			broken := make(chan error, 1)
			go func() { broken <- operator.Break(context.Background(), "n") }()
			time.Sleep(time.Duration(i%30) * 100 * time.Microsecond) // so that either is first
			switch err := lock.Release(t.Context()); {
			case err == nil:
				released++
			case errors.Is(err, locker.ErrLost):
				lost++
			default:
				t.Fatal(err)
			}
			next := acquire(t, l, "n")
			if next.Token() <= lock.Token() {
				t.Fatalf("token %d after %d", next.Token(), lock.Token())
			}
			if err := <-broken; err != nil {
				t.Fatal(err)
			}
			if err := next.Release(t.Context()); err != nil && !errors.Is(err, locker.ErrLost) {
				t.Fatal(err)
			}
		}
		t.Logf("%d released, %d lost", released, lost)
		if info := inspect(t, operator, "n"); info.Held {
			t.Errorf("%+v, want it to be free", info)
		}
	})
}

// A holder that is frozen is disconnected.
func TestBreakOfAFrozenHolder(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		p := startChild(t, s.Addr)
		p.says("held")
		p.freeze()
		operator := openAlert(t, s.Addr, protocol)
		if err := operator.Break(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, operator, "n"))
		p.thaw()
		fmt.Fprintln(p.in)
		p.says("lost true")
	})
}

func TestBreakOfAFrozenHolderIsNotPermitted(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	setUser(s, "operator", append([]string{"on", ">password", "~*", "&*", "+@all"}, denying("client|kill")...))
	p := startChild(t, s.Addr)
	p.says("held")
	p.freeze()
	operator := openWith(t, s.Client(userOptions("operator", 3)), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond})
	if err := operator.Break(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "client|kill") {
		t.Errorf("%v, want one that says what is not permitted", err)
	}
	p.thaw()
}

// A foreign holder is disconnected by the name that portalocker gives to its connection,
// and nobody else is.
func TestBreakOfAForeignHolder(t *testing.T) {
	t.Parallel()
	for name, killed := range map[string]bool{"n-lock": true, "n-lock-" + strings.Repeat("5", 32): true, "nn-lock": false, "": false} {
		s := redistest.Start(t)
		conn := s.Raw()
		if name != "" {
			conn.Do("CLIENT", "SETNAME", name)
		}
		conn.Do("SUBSCRIBE", "n")
		l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond})
		if err := l.Break(t.Context(), "n"); (err == nil) != killed || !killed && !errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("%q: %v", name, err)
		}
		if info := inspect(t, l, "n"); info.Held == killed {
			t.Errorf("%q: %+v", name, info)
		}
	}
}

// A holder is asked for the lock, and keeps its others, also where n:locker:holder tells of
// another hold than this one, or of none.
func TestBreakOfAHoldThatIsNotInTheHint(t *testing.T) {
	t.Parallel()
	for how, hold := range map[string]func(*testing.T, *redistest.Server, *redislock.Locker) locker.Lock{
		"passed on": func(t *testing.T, _ *redistest.Server, l *redislock.Locker) locker.Lock {
			lock := acquire(t, l, "n")
			for range 3 {
				waits := &watched{Context: context.Background(), waits: make(chan struct{})}
				next := make(chan locker.Lock, 1)
				go func() {
					lock, err := l.Acquire(waits, "n", locker.WithTimeout(bound))
					if err != nil {
						t.Error(err)
					}
					next <- lock
				}()
				await(t, "the next one waits", waits.waits)
				release(t, lock)
				lock = <-next
			}
			return lock
		},
		"the hint is lost": func(t *testing.T, s *redistest.Server, l *redislock.Locker) locker.Lock {
			lock := acquire(t, l, "n")
			s.Do("FLUSHALL")
			return lock
		},
	} {
		t.Run(how, func(t *testing.T) {
			s := redistest.Start(t)
			l := openWith(t, s.Client(nil), calm, locker.WithCheckInterval(time.Hour))
			kept := acquire(t, l, "kept")
			lock := hold(t, s, l)
			if err := open(t, s.Addr, 2).Break(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			await(t, "Done", lock.Done())
			if err := kept.Err(); err != nil {
				t.Errorf("the holder's other lock: %v", err)
			}
			release(t, kept)
		})
	}
}

// Close ends a Break that waits for a holder.
func TestCloseEndsABreak(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Raw().Do("SUBSCRIBE", "n") // it cannot be told whose it is
	l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: time.Hour})
	broken := make(chan error, 1)
	go func() { broken <- l.Break(context.Background(), "n") }()
	poll(t, "Break has begun", func() bool {
		return strings.Contains(s.Do("INFO", "commandstats").(string), "cmdstat_eval:") // its first look
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-broken; !errors.Is(err, locker.ErrClosed) {
		t.Errorf("Break: %v, want ErrClosed", err)
	}
}
