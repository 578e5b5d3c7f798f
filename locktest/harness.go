package locktest

import (
	"reflect"
	"testing"

	"github.com/golocker/locker"
)

// harness checks what h promises, before anything is said about the backend:
// a harness that opens two places where it should open one would make any
// backend look as if it granted a lock twice.
func (s suite) harness(t *testing.T) {
	const fault = "the Harness is at fault: "
	if s.New == nil || s.Open == nil {
		t.Fatal(fault + "New or Open is nil")
	}
	if s.Recovery < 0 {
		t.Fatalf(fault+"Recovery is %v", s.Recovery)
	}
	p, other := s.place(t), s.place(t)
	if p.addr == other.addr {
		t.Fatalf(fault+"New returned %q twice", p.addr)
	}
	a, b, c := p.open(), p.open(), other.open()
	if reflect.ValueOf(a.Locker).Comparable() && a.Locker == b.Locker {
		t.Fatal(fault + "Open returned the same Locker twice: each needs a Close of its own")
	}
	for _, l := range []locker.Locker{a, b, c} {
		lock, err := p.try(l, name)
		if err != nil {
			t.Fatalf(fault+"in a fresh place a lock cannot be acquired: %v", err)
		}
		p.release(lock)
	}
	held := p.acquire(a, name)
	lock, err := p.try(c, name)
	if err != nil {
		t.Fatalf(fault+"the places of %q and %q are one: a lock of the first cannot be acquired in the second: %v", p.addr, other.addr, err)
	}
	p.release(lock)
	if _, err := p.try(a, name); err != nil { // else it is the backend that fails, as Exclusion shows
		if _, err := p.try(b, name); err == nil {
			t.Fatalf(fault+"two Lockers of %q do not exclude each other, though one excludes itself", p.addr)
		}
	}
	p.close(b)
	if lock, err := p.try(a, "weekly-report"); err != nil {
		t.Fatalf(fault+"Close of one Locker closes another one of the same place: %v", err)
	} else {
		p.release(lock)
	}
	if err := held.Err(); err != nil {
		t.Fatalf(fault+"Close of one Locker ends a lock of another one of the same place: %v", err)
	}
	p.release(held)
}
