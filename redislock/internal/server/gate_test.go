package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGate(t *testing.T) {
	t.Parallel()
	var g gate
	var order []int
	for i := range 5 {
		g.enter(2, func() { order = append(order, i) })
	}
	if !slices.Equal(order, []int{0, 1}) {
		t.Fatalf("inside: %v", order)
	}
	for range 5 {
		g.leave()
	}
	if !slices.Equal(order, []int{0, 1, 2, 3, 4}) || g.inside != 0 {
		t.Errorf("in the order %v, and %d are inside", order, g.inside)
	}
}

// Of thousands who come at once, no more are inside than may be, and all have been.
func TestManyAtAGate(t *testing.T) {
	t.Parallel()
	const limit, all = 16, 10_000
	var g gate
	var inside, most atomic.Int64
	var been sync.WaitGroup
	been.Add(all)
	for range all {
		go g.enter(limit, func() {
			now := inside.Add(1)
			for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
			}
			go func() {
				inside.Add(-1)
				been.Done()
				g.leave()
			}()
		})
	}
	been.Wait()
	if m := most.Load(); m > limit {
		t.Errorf("%d were inside at once", m)
	}
}
