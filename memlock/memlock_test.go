package memlock_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
	"github.com/golocker/locker/memlock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	var places places
	locktest.Run(t, locktest.Harness{New: places.add, Open: places.open, Bubble: true})
}

// places are memory Lockers by address: each is a place, which the suite opens
// through With, so that its Lockers share the locks and have a Close of their own.
type places struct {
	mu     sync.Mutex
	byAddr map[string]*memlock.Locker // guarded by mu
}

func (p *places) add(t testing.TB) string {
	l := memlock.New()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byAddr == nil {
		p.byAddr = make(map[string]*memlock.Locker)
	}
	addr := strconv.Itoa(len(p.byAddr))
	p.byAddr[addr] = l
	return addr
}

func (p *places) open(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byAddr[addr].With(opts...)
}

func TestEachNewHasLocksOfItsOwn(t *testing.T) {
	a, b := memlock.New(), memlock.New()
	defer a.Close()
	defer b.Close()
	for _, l := range []*memlock.Locker{a, b} {
		if _, err := l.Acquire(t.Context(), "name", locker.WithTimeout(0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokenGrowsOverRestarts(t *testing.T) {
	last := uint64(0)
	for range 3 {
		l := memlock.New() // as another run of the program does, later
		lock, err := l.Acquire(t.Context(), "name")
		if err != nil {
			t.Fatal(err)
		}
		if lock.Token() <= last {
			t.Errorf("Token() = %d after %d, want a greater one", lock.Token(), last)
		}
		last = lock.Token()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the clock has gone on, as the tokens follow it
	}
}

func TestNothingIsKeptForUnusedNames(t *testing.T) {
	l := memlock.New()
	defer l.Close()
	objects := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	const names = 20_000
	before := objects()
	for i := range names {
		lock, err := l.Acquire(t.Context(), strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if after := objects(); after > before+names/10 {
		t.Errorf("%d objects more after %d names, want hardly any", after-before, names)
	}
}

// An uncontended acquire and release allocates the handle, and no more than one
// thing besides.
func TestUncontendedAllocations(t *testing.T) {
	l := memlock.New()
	defer l.Close()
	ctx := context.Background()
	allocations := testing.AllocsPerRun(1000, func() {
		lock, err := l.Acquire(ctx, "nightly-report")
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(ctx); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 2 {
		t.Errorf("%v allocations, want 2 at most", allocations)
	}
}
