// Package memlock is the in-memory backend of locker: a keyed mutex with first
// come, first served hand-over, for the goroutines of one process and for tests.
//
// It works inside a testing/synctest bubble. Nothing is kept for names that are
// not in use. A lock in memory is lost only by Break. Its tokens grow over restarts of
// the program too, as long as the clock does: they start at the Unix time in
// nanoseconds, of which a hold takes many. Inspect does not know since when a lock is
// held.
package memlock

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
)

// Locker acquires locks in memory. Each Locker has locks of its own: use one
// Locker, or With of it, wherever two pieces of code are to exclude each other.
type Locker struct {
	*locker.Base
}

var _ locker.Locker = (*Locker)(nil)

// New returns a Locker that knows of no locks. The opts are its defaults.
func New(opts ...locker.Option) *Locker {
	d := &driver{}
	d.token.Store(uint64(time.Now().UnixNano()))
	return &Locker{locker.NewBase(d, opts...)}
}

// A driver grants every attempt: that Acquires of one Base exclude each other,
// in the order of their arrival, is all that memory needs.
type driver struct {
	token atomic.Uint64 // the last one
}

func (*driver) Backend() string { return "memory" }

func (d *driver) Try(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
	return d.Grant(a.Name), nil
}

// Grant implements locker.Granter.
func (d *driver) Grant(string) locker.Grant { return locker.Grant{Token: d.token.Add(1)} }

func (*driver) Close() error { return nil }
