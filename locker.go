// Package locker keeps two processes from doing the same thing at once.
//
// A [Locker] acquires locks by name. Where the locks live is the choice of its
// backend, and the rest of a program does not see the difference:
//
//   - redislock: one Redis for processes on many machines. The subscription to
//     a pub/sub channel is the lock, so a crash frees it at once.
//   - filelock: files in a directory, for the processes of one machine.
//   - memlock: memory, for one process and for tests.
//
// An acquired [Lock] is held until it is released or lost. A loss is told: Done
// closes and Err says why. A storage that the lock protects can refuse a holder
// that did not look, by the fencing token that comes with each lock.
//
// [Do] is the shortest way to use it:
//
//	err := locker.Do(ctx, l, "nightly-report", func(ctx context.Context, lock locker.Lock) error {
//		return writeReport(ctx)
//	})
//
// Backends are written against [Driver]; package locktest tests them.
package locker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// A Locker acquires locks by name. It may be used by any number of goroutines.
// Two Acquires of one name exclude each other, also through one Locker: a lock
// is not re-entrant.
type Locker interface {
	// Acquire acquires the lock called name. It makes a first attempt at once.
	// While another holds the lock it waits, first come first served as far as
	// the backend can, until the lock is acquired, the timeout passes
	// ([WithTimeout]) or ctx ends, whichever is first. The lock does not depend
	// on ctx: when ctx ends later, the lock is still held.
	//
	// Every error is an [*Error] and matches one of these with errors.Is:
	//   - ErrAlreadyLocked: another holds the lock and the attempt does not wait.
	//   - ErrAlreadyLocked and ErrTimeout: another held it until the timeout.
	//   - context.Canceled or context.DeadlineExceeded, and the cause of ctx.
	//   - ErrUnavailable and its cause: the backend could not be reached, or has
	//     refused (a password, a permission), on the first attempt or at the end
	//     of the wait. An outage during the wait is waited out.
	//   - ErrClosed: the Locker was closed, before the call or during it.
	//   - ErrInvalid: a name that is empty, longer than 1,024 bytes or not
	//     UTF-8, or an option that makes no sense. Nothing was touched.
	Acquire(ctx context.Context, name string, opts ...Option) (Lock, error)

	// Close releases every lock that was acquired through the Locker and is
	// still held, ends every waiting Acquire with ErrClosed, and returns when
	// all goroutines and connections that the Locker opened have ended. A second
	// Close returns nil.
	Close() error
}

// A Lock is held from Acquire until Release, or until it is lost. It may be
// used by any number of goroutines.
type Lock interface {
	// Name returns the name that the lock was acquired by.
	Name() string

	// Token returns the fencing token: of two holds of one name, the later has
	// the greater token. Give it to the storage that the lock protects and have
	// the storage refuse a token smaller than one it has seen. (Kleppmann, "How
	// to do distributed locking", 2016.)
	Token() uint64

	// Done returns a channel that is closed when the lock is no longer held, by
	// Release, by Close of its Locker or by loss. It is closed before anyone
	// else can hold the lock, within the bounds that the backend documents.
	Done() <-chan struct{}

	// Err returns nil while the lock is held; then an error that matches
	// ErrReleased, or ErrLost and the cause of the loss.
	Err() error

	// Release gives the lock back. When it is called again it does nothing and
	// returns what the first call returned.
	//
	// ctx bounds how long Release waits, not whether the lock is released: when
	// ctx ends before the release is confirmed, its error is returned and the
	// release goes on; when ctx had ended before the call, Release still waits
	// for a short grace (250 ms). "defer lock.Release(ctx)" is always right.
	//
	// Every error is an [*Error] and matches ErrLost and the cause when the lock
	// was lost, ErrUnavailable and the cause when the backend did not confirm
	// the release, or the error and the cause of ctx.
	Release(ctx context.Context) error
}

// The errors that Acquire, Release and Err match, with errors.Is.
var (
	// ErrAlreadyLocked says that another holds the lock.
	ErrAlreadyLocked = errors.New("already locked")
	// ErrTimeout says that Acquire has waited until its timeout.
	ErrTimeout = errors.New("gave up")
	// ErrLost says that the lock ended by itself, and was not released.
	ErrLost = errors.New("lock lost")
	// ErrReleased says that the lock was released, by Release or by Close.
	ErrReleased = errors.New("lock released")
	// ErrUnavailable says that the backend could not be reached, or has refused.
	ErrUnavailable = errors.New("backend unavailable")
	// ErrClosed says that the Locker was closed.
	ErrClosed = errors.New("locker closed")
	// ErrInvalid says that an argument makes no sense, whatever the backend does.
	ErrInvalid = errors.New("invalid")
)

// Error is the error of an operation on a lock.
type Error struct {
	Op      string // "acquire", "release", "inspect" or "break"
	Backend string // "redis", "file", "memory", or what a Driver calls itself
	Name    string // the lock; empty for the names of all
	Err     error  // what went wrong; matches the sentinels of this package
}

// Error says what failed, on which lock and why, in one line.
func (e *Error) Error() string {
	const longest = 64 // bytes of a name that a message shows
	name := strconv.Quote(e.Name)
	if len(e.Name) > longest {
		name = strconv.Quote(e.Name[:longest]) + "..."
	}
	if e.Name == "" && e.Op == "inspect" && !errors.Is(e.Err, ErrInvalid) {
		name = "all"
	}
	return "locker: " + e.Op + " " + name + " (" + e.Backend + "): " + e.Err.Error()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Do acquires the lock called name, runs fn and releases the lock, also when fn
// panics. The ctx of fn is cancelled, with a cause that matches ErrLost, when
// the lock is lost.
//
// Do returns the error of Acquire, or the error of fn as it is. When the lock
// was lost and fn's error does not say so, the error that Do returns matches
// both. A release that the backend has not confirmed is no error of Do.
func Do(ctx context.Context, l Locker, name string, fn func(ctx context.Context, lock Lock) error, opts ...Option) (err error) {
	lock, err := l.Acquire(ctx, name, opts...)
	if err != nil {
		return err
	}
	held, cancel := Context(ctx, lock)
	defer func() {
		cancel()
		released := lock.Release(ctx)
		if !errors.Is(released, ErrLost) || errors.Is(err, ErrLost) {
			return
		}
		if err == nil {
			err = released
		} else {
			err = fmt.Errorf("%w; %w", err, released)
		}
	}()
	return fn(held, lock)
}

// Context returns a copy of ctx that is cancelled with the cause lock.Err() as
// soon as the lock is no longer held. The CancelFunc frees what the copy uses
// and leaves the lock alone; call it when the work under the lock has ended.
func Context(ctx context.Context, lock Lock) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if err := lock.Err(); err != nil {
		cancel(err)
	} else {
		go func() {
			select {
			case <-lock.Done():
				cancel(lock.Err())
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(context.Canceled) }
}
