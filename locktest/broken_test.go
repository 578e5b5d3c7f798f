package locktest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
	"github.com/golocker/locker/memlock"
)

// A broken is a Locker, or a Harness, with one defect.
type broken struct {
	name    string
	caught  string // by this subtest of the suite
	harness locktest.Harness
}

func brokenLockers() []broken {
	return slices.Concat(
		brokenHarnesses(), brokenExclusion(), brokenOrder(), brokenErrors(), brokenOptions(), brokenTimeouts(),
		brokenContexts(), brokenReleases(), brokenTokens(), brokenLosses(), brokenCloses(), brokenProcesses(), brokenNames(), brokenInspectors(),
	)
}

func brokenHarnesses() []broken {
	sameAddr, onePlace, twoPlaces, oneLocker := inMemory(nil), inMemory(nil), inMemory(nil), inMemory(nil)
	sameAddr.New = func(testing.TB) string { return "0" }
	twoPlaces.Open = func(_ testing.TB, _ string, opts ...locker.Option) locker.Locker { return memlock.New(opts...) }
	openFirst := onePlace.Open
	onePlace.Open = func(t testing.TB, _ string, opts ...locker.Option) locker.Locker { return openFirst(t, "0", opts...) }
	open, opened := oneLocker.Open, make(map[string]locker.Locker)
	oneLocker.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		if opened[addr] == nil {
			opened[addr] = open(t, addr, opts...)
		}
		return opened[addr]
	}
	openNil, oneUncomparable := inMemory(nil), oneLocker
	openNil.Open = func(testing.TB, string, ...locker.Option) locker.Locker { return nil }
	oneUncomparable.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		return uncomparable{oneLocker.Open(t, addr, opts...).(*locker.Base), opts}
	}
	return []broken{
		{"harness-opens-nil", "Harness", openNil},
		{"harness-opens-one-uncomparable-locker", "Harness", oneUncomparable},
		{"harness-has-one-addr", "Harness", sameAddr},
		{"harness-has-one-place", "Harness", onePlace},
		{"harness-opens-two-places", "Harness", twoPlaces},
		{"harness-opens-one-locker", "Harness", oneLocker},
		{"harness-is-empty", "Harness", locktest.Harness{}},
	}
}

func brokenExclusion() []broken {
	reentrant := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if errors.Is(err, locker.ErrAlreadyLocked) && !ask(opts).wait {
				return &forged{name: name, done: make(chan struct{})}, nil
			}
			return lock, err
		}
	})
	grantsTwice := acquiring(func(l locker.Locker) acquireFunc {
		var held atomic.Int64
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if ask(opts).wait {
				lock, err := l.Acquire(ctx, name, append(opts, locker.WithFailWhenLocked(true))...)
				if err == nil {
					return lock, nil
				}
				if held.Add(1)%5 == 0 {
					return &forged{name: name, done: make(chan struct{})}, nil
				}
			}
			return l.Acquire(ctx, name, opts...)
		}
	})
	var mu sync.Mutex
	opens := make(map[string]int)
	grantsToTheThird := inMemory(func(l locker.Locker, addr string, opts []locker.Option) locker.Locker {
		mu.Lock()
		defer mu.Unlock()
		if opens[addr]++; opens[addr] == 3 {
			return memlock.New(opts...)
		}
		return l
	})
	ofTheProcess := thirdParty()
	ofTheProcess.Open = func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
		addr = filepath.Join(addr, strconv.Itoa(os.Getpid()))
		if err := os.MkdirAll(addr, 0o700); err != nil {
			t.Fatal(err)
		}
		return openThirdParty(addr, opts...)
	}
	return []broken{
		{"is-reentrant", "Exclusion/NotReentrant", reentrant},
		{"grants-twice", "Exclusion/Goroutines", grantsTwice},
		{"grants-twice-in-stress", "Stress/RandomTimeoutsAndCancels", grantsTwice},
		{"grants-twice-to-lockers", "Exclusion/Lockers", grantsToTheThird},
		{"grants-twice-to-processes", "Exclusion/Processes", ofTheProcess},
		{"ignores-other-processes", "Process/HoldsAgainstAnother", ofTheProcess},
		{"waits-for-no-other-process", "Process/WaitsForAnother", ofTheProcess},
	}
}

func brokenOrder() []broken {
	forgets := acquiring(func(l locker.Locker) acquireFunc {
		var waiters atomic.Int64
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if ask(opts).wait && waiters.Add(1)%4 == 0 {
				<-ctx.Done()
			}
			return l.Acquire(ctx, name, opts...)
		}
	})
	lastComeFirstServed := acquiring(func(l locker.Locker) acquireFunc {
		var mu sync.Mutex
		var came int
		var stack []int // who waits, by when it came
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if !ask(opts).wait {
				return l.Acquire(ctx, name, opts...)
			}
			mu.Lock()
			came++
			mine := came
			stack = append(stack, mine)
			mu.Unlock()
			try := func() (locker.Lock, error) {
				mu.Lock()
				defer mu.Unlock() // also while it asks: nobody who is later comes meanwhile
				if slices.Max(stack) != mine {
					return nil, locker.ErrAlreadyLocked
				}
				return l.Acquire(context.Background(), name, append(opts, locker.WithTimeout(0))...)
			}
			lock, err := try()
			for errors.Is(err, locker.ErrAlreadyLocked) && ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
				lock, err = try()
			}
			mu.Lock()
			stack = slices.DeleteFunc(stack, func(other int) bool { return other == mine })
			mu.Unlock()
			return lock, err
		}
	})
	barges := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if ask(opts).wait { // it does not look whether others do
				if lock, err := l.Acquire(ctx, name, append(opts, locker.WithTimeout(0))...); err == nil {
					return lock, nil
				}
			}
			turn, err := l.Acquire(ctx, "turn for "+name, opts...)
			if err != nil {
				return nil, err
			}
			defer func() { _ = turn.Release(context.Background()) }()
			return polling(l, time.Second)(ctx, name, opts...)
		}
	})
	staysInTheQueue := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			lock, err := l.Acquire(ctx, name, opts...)
			if errors.Is(err, context.Canceled) {
				go func() { _, _ = l.Acquire(context.Background(), name, locker.WithTimeout(locker.NoTimeout)) }()
			}
			return lock, err
		}
	})
	return []broken{
		{"forgets-a-waiter", "Order/FirstComeFirstServed", forgets},
		{"serves-the-last-first", "Order/FirstComeFirstServed", lastComeFirstServed},
		{"newcomer-overtakes", "Order/NobodyOvertakes", acquiring(func(l locker.Locker) acquireFunc { return polling(l, time.Second) })},
		{"newcomer-who-waits-overtakes", "Order/NobodyOvertakes", barges},
		{"serves-who-gave-up", "Order/WaiterWhoGivesUpIsPassedOver", staysInTheQueue},
	}
}
