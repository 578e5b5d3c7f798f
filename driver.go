package locker

import (
	"context"
	"time"
)

// A Driver is what a backend writes: single attempts. Waiting, timeouts,
// options, errors and the state of a held lock are those of [Base], which calls
// the Driver with valid names only and for one name from one goroutine at a
// time: until a Try, a Release or a Leave of a name has returned, no other
// call for that name is made. Acquires of one name through one Base never meet
// in the Driver; it excludes other processes, and other Drivers of this one.
//
// Where a Try or a Release panics, or ends the goroutine, the name can be acquired again,
// and Close does not wait for the call. The panic reaches the caller; but a Release whose
// ctx can end has a goroutine of its own, whose panic ends the program.
//
// A Driver, or the Hold it grants, may also be a [Granter], a [Queue], a [Checker],
// a [Watcher], a [Passer] or an [AsyncReleaser]. A Driver may be an [Ender], and an
// [Inspector], too, whose methods are called by any number of goroutines, with valid names.
type Driver interface {
	// Backend names the kind of the backend in errors: "redis".
	Backend() string

	// Try makes one attempt to take the lock a.Name, without waiting for its
	// holder. It returns an error that matches ErrAlreadyLocked when another
	// holds the lock or is before it in the queue, ErrInvalid when the name can
	// never be locked, and any other error when the attempt failed: an Acquire
	// whose first attempt fails gives up with ErrUnavailable and that error.
	//
	// When ctx ends, Try returns soon, with any error. What it had begun is
	// undone before the next Try or Leave of the name begins.
	Try(ctx context.Context, a *Attempt) (Grant, error)

	// Close frees what the Driver uses. It is called once, when no lock is
	// held and no other call is under way.
	Close() error
}

// An Attempt is what a Try is to do. It is the same variable in all Tries of
// those who wait for a name one after another: a Driver that keeps it after Try
// has returned may call Wake, and neither read nor set its fields.
type Attempt struct {
	Name          string
	Wait          bool          // when the lock is held, there will be another Try, or a Leave: keep a place
	CheckInterval time.Duration // how soon to try again when nothing wakes the waiter
	Behind        int           // how many Acquires of this process wait behind this one, for a Driver that prepares to Pass

	// RetryAfter is set by Try where another time than CheckInterval is better.
	RetryAfter time.Duration

	wake chan struct{}
}

// Wake has the waiter try again now. It may be called from any goroutine, also
// during Try and after the wait has ended.
func (a *Attempt) Wake() {
	select {
	case a.wake <- struct{}{}:
	default: // one is on its way
	}
}

// A Grant is what a successful Try returns.
type Grant struct {
	Token uint64 // greater than in every earlier Grant for the name
	Hold  Hold   // nil if there is nothing to give back: Base alone excludes
}

// A Hold is one lock held.
type Hold interface {
	// Release gives the lock back. It is called once, with a ctx that does not
	// end early because a caller's did; also after Check said that the lock is
	// lost, to free what the Hold uses. An error that matches ErrLost says that
	// the lock was lost before; any other, that the release is not confirmed.
	Release(ctx context.Context) error
}

// A Granter is a Driver that grants every attempt, as it is enough that Acquires of
// one Base exclude each other.
type Granter interface {
	// Grant is what Try would return. Base may call it in the place of Try, while it
	// has a mutex locked: it must not block.
	Grant(name string) Grant
}

// A Queue is a Driver that keeps a place for a waiting Acquire.
type Queue interface {
	// Leave gives up the place that a Try with Wait may have taken, also one that
	// its ctx has cut short. It is called when nobody of this process waits any
	// more.
	Leave(ctx context.Context, name string)
}

// An Ender is a Driver whose calls may be kept by a backend that does not answer.
type Ender interface {
	// End is called once, when Close has begun. Calls that are under way, and those that
	// give back what is held yet, are to end soon after it, whether the backend answers or
	// not. It does not wait for them.
	End()
}

// A Checker is a Hold that can be asked whether it is lost. Base asks in Err and
// at Release; and, unless the Hold is a [Watcher] too, every check interval once
// someone has asked for Done.
type Checker interface {
	// Check returns nil while the lock is held, else what became of it. It may
	// be called from any goroutine, also while and after the Hold is released,
	// and does not wait.
	Check() error
}

// A Watcher is a Hold that tells its loss by itself.
type Watcher interface {
	// Watch makes lost the function to call, at most once, when the lock is
	// lost: before anyone else can hold it. It is called once, and calls lost
	// itself when the lock is lost already. After a Release has begun, lost need
	// not be called.
	Watch(lost func(cause error))
}

// A Passer is a Hold that can be given to the next Acquire of this process
// without being released in between.
type Passer interface {
	// Pass ends the Hold and returns its successor. It returns false, and the
	// Hold goes on, when the lock must be released instead.
	Pass() (Grant, bool)
}

// An AsyncReleaser is a Hold whose release can be begun without waiting for it.
type AsyncReleaser interface {
	// StartRelease does what Release does without blocking, and calls done once
	// with the result, possibly before it returns.
	StartRelease(done func(error))
}
