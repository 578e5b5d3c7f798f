package locker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"time"
)

// An Inspector tells who holds locks, and takes them away: for operators, not for the
// programs that use the locks, as what it says may be over when it is read.
//
// [Base] is one, so that every Locker of this module is; a Base whose Driver cannot
// tell returns errors that match [errors.ErrUnsupported]. Errors are an [*Error], of
// Op "inspect" or "break", and match what those of Acquire do. Nothing waits for a lock,
// and no holder, waiter or attempt is disturbed by Inspect and Names.
type Inspector interface {
	// Inspect tells who holds the lock called name, and how many wait for it.
	Inspect(ctx context.Context, name string) (Info, error)

	// Names yields the names of the locks that are held, in no order: each that is
	// held all the time once, one that is acquired or released meanwhile perhaps. The
	// backend may not know the names of some; see there. It takes small steps, between
	// which others have their turn. After an error it ends.
	Names(ctx context.Context) iter.Seq2[string, error]

	// Break takes the lock called name from its holder, whose Done closes with ErrLost.
	// It returns when others can have the lock, also if nobody held it. The work of the
	// holder goes on until it looks at Done: a storage that refuses old tokens keeps it
	// out. When ctx ends, so does Break, with its error; the lock may be broken later.
	Break(ctx context.Context, name string) error
}

// An Info is what an [Inspector] knows of a lock.
type Info struct {
	Name    string
	Held    bool
	Holder  Holder // what is known of it; zero while the lock is not held
	Waiters int    // see the backend for what counts; -1 if it is not known
}

// A Holder is who holds a lock. What the backend does not know is zero.
type Holder struct {
	Host  string
	PID   int
	ID    string    // what the backend calls it, as the session on Redis
	Since time.Time // when it acquired the lock
	Token uint64
}

var _ Inspector = (*Base)(nil)

// errBroken is why a lock was lost that Break has taken away.
var errBroken = errors.New("it was taken away by Break")

// Inspect implements [Inspector].
func (b *Base) Inspect(ctx context.Context, name string) (info Info, err error) {
	err = b.look(ctx, "inspect", name, func(ctx context.Context, i Inspector) error {
		info, err = i.Inspect(ctx, name)
		return err
	})
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

// Break implements [Inspector].
func (b *Base) Break(ctx context.Context, name string) error {
	return b.look(ctx, "break", name, func(ctx context.Context, i Inspector) error { return i.Break(ctx, name) })
}

// Names implements [Inspector].
func (b *Base) Names(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		i, err := b.inspector()
		if err == nil {
			err = b.names(ctx, i, yield)
		}
		if err != nil {
			yield("", &Error{Op: "inspect", Backend: b.scope.backend, Err: b.whyNot(ctx, err)})
		}
	}
}

// names yields names, and returns why there may be more of them. Close does not wait for
// what the caller does with them.
func (b *Base) names(ctx context.Context, i Inspector, yield func(string, error) bool) error {
	next, stop := iter.Pull2(i.Names(ctx))
	defer stop()
	for {
		end, err := b.enter(ctx)
		if err != nil {
			return err
		}
		name, err, more := next()
		end()
		switch {
		case err != nil:
			return err
		case !more:
			return nil
		case checkName(name) != nil: // what others have left there is none of ours
		case !yield(name, nil):
			return nil
		}
	}
}

// look calls fn for a valid name while b is open.
func (b *Base) look(ctx context.Context, op, name string, fn func(context.Context, Inspector) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := checkName(name)
	if err == nil {
		var end func()
		if end, err = b.enter(ctx); err == nil {
			defer end()
			defer b.endWithClose(ctx, cancel)()
			var i Inspector
			if i, err = b.inspector(); err == nil {
				err = fn(ctx, i)
			}
		}
	}
	if err == nil {
		return nil
	}
	return &Error{Op: op, Backend: b.scope.backend, Name: name, Err: b.whyNot(ctx, err)}
}

// enter has Close of b wait until end is called.
func (b *Base) enter(ctx context.Context) (end func(), err error) {
	if !b.lists.enter(&b.scope) {
		return nil, ErrClosed
	}
	if ctx.Err() != nil {
		b.lists.exit(&b.scope)
		return nil, contextError(ctx)
	}
	return func() { b.lists.exit(&b.scope) }, nil
}

// endWithClose has ctx end when b is closed, until stop is called.
func (b *Base) endWithClose(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-b.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	})
	return func() {
		cancel(nil)
		watching.Wait()
	}
}

// inspector returns who can tell: the Driver, or, where it grants every attempt, the
// waitlists, as then nobody else has locks.
func (b *Base) inspector() (Inspector, error) {
	if i, ok := b.lists.driver.(Inspector); ok {
		return i, nil
	}
	if b.lists.granted != nil {
		return b.lists, nil
	}
	return nil, fmt.Errorf("inspecting locks: %w", errors.ErrUnsupported)
}

// whyNot is what an Inspector that failed with err has told.
func (b *Base) whyNot(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, errors.ErrUnsupported):
		return err
	case errors.Is(context.Cause(ctx), ErrClosed):
		return ErrClosed
	case ctx.Err() != nil:
		return contextError(ctx)
	default:
		return classified(err)
	}
}

// Inspect implements Inspector, for a Driver that grants every attempt. Everyone who
// waits counts.
func (ls *waitlists) Inspect(_ context.Context, name string) (Info, error) {
	host, _ := os.Hostname() // only for people
	ls.mu.Lock()
	defer ls.mu.Unlock()
	info := Info{Name: name}
	if l := ls.byName[name]; l != nil {
		info.Waiters = l.waiters.len
		if h, ok := l.holder.(*lock); ok {
			info.Held = true
			info.Holder = Holder{Host: host, PID: os.Getpid(), Token: h.token}
		}
	}
	return info, nil
}

// Names implements Inspector.
func (ls *waitlists) Names(context.Context) iter.Seq2[string, error] {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var names []string
	for name, l := range ls.byName {
		if l.holder != nil {
			names = append(names, name)
		}
	}
	return func(yield func(string, error) bool) {
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Break implements Inspector.
func (ls *waitlists) Break(_ context.Context, name string) error {
	ls.mu.Lock()
	var h holder
	if l := ls.byName[name]; l != nil {
		h = l.holder
	}
	ls.mu.Unlock()
	if h, ok := h.(*lock); ok {
		h.lose(errBroken)
	}
	return nil
}
