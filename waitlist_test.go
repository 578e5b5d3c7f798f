package locker

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// What a waiter costs does not grow with the number of those who wait for its name.
func TestEachWaiterCostsTheSame(t *testing.T) {
	for _, way := range []struct {
		name string
		run  func(ls *waitlists, waiters []*waiter)
	}{
		{"released to it", func(ls *waitlists, waiters []*waiter) {
			for _, w := range waiters {
				h := newLock(w.list, w.scope, w.options, Grant{})
				ls.grant(h.list, h.scope, h)
				ls.released(h.list, h.scope)
			}
		}},
		{"passed to it", func(ls *waitlists, waiters []*waiter) {
			h := newLock(waiters[0].list, waiters[0].scope, waiters[0].options, Grant{})
			ls.grant(h.list, h.scope, h)
			for range waiters[1:] {
				ls.releasing(h.list)
				next := &lock{list: h.list}
				ls.pass(h.list, h.scope, next)
				h = next
			}
		}},
		{"an attempt of the front", func(ls *waitlists, waiters []*waiter) {
			for range waiters {
				ls.found(waiters[0], ErrAlreadyLocked)
			}
		}},
		{"refused", func(ls *waitlists, waiters []*waiter) {
			for _, w := range waiters[1:] {
				w.options.failWhenLocked = true
			}
			ls.found(waiters[0], ErrAlreadyLocked)
		}},
		{"gives up in the middle", func(ls *waitlists, waiters []*waiter) {
			for i := range waiters {
				_, _ = ls.giveUp(waiters[(i+len(waiters)/2)%len(waiters)])
			}
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			costsTheSame(t, func(n int) time.Duration {
				ls, waiters := queued(n)
				began := time.Now()
				way.run(ls, waiters)
				return time.Since(began)
			})
		})
	}
}

// What Close costs does not grow with the number of others on the same locks.
func TestEachCloseCostsTheSame(t *testing.T) {
	costsTheSame(t, func(n int) time.Duration {
		first, o := NewBase(idle{}), defaultOptions()
		bases := []*Base{first}
		for len(bases) < n {
			bases = append(bases, first.With())
		}
		for i, b := range bases { // each holds one lock, and waits for another
			if _, err := b.Acquire(context.Background(), strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
			_, _, _, _ = b.lists.join(context.Background(), &b.scope, "name", &o)
		}
		began := time.Now()
		for _, b := range bases {
			if locks, _ := b.lists.close(&b.scope); len(locks) != 1 {
				t.Fatalf("%d locks, want 1", len(locks))
			}
		}
		return time.Since(began)
	})
}

// costsTheSame checks that the cost of each does not grow with how many there are: cost
// is that of n. There is one goroutine, so that no scheduler is measured: what does grow
// is 100 times as high for many.
func costsTheSame(t *testing.T, cost func(n int) time.Duration) {
	t.Helper()
	const few, many, most = 100, 10_000, 20
	each := func(n int) time.Duration { return cost(n) / time.Duration(n) }
	one, other := each(few), each(many)
	for tries := 1; other > most*one; tries++ {
		if tries == 5 { // not only when the machine had other work
			t.Fatalf("%v for each of %d, %v for each of %d; want at most %d times as much", one, few, other, many, most)
		}
		one, other = min(one, each(few)), min(other, each(many))
	}
}

// queued returns n waiters of one name, the first of them the front.
func queued(n int) (*waitlists, []*waiter) {
	b, o := NewBase(idle{}), defaultOptions()
	waiters := make([]*waiter, n)
	for i := range waiters {
		_, waiters[i], _, _ = b.lists.join(context.Background(), &b.scope, "name", &o)
	}
	return b.lists, waiters
}

// An idle is a Driver that is not asked.
type idle struct{}

func (idle) Backend() string                              { return "idle" }
func (idle) Try(context.Context, *Attempt) (Grant, error) { return Grant{}, nil }
func (idle) Close() error                                 { return nil }
