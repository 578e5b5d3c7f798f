package locktest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func (s suite) errors(t *testing.T) {
	s.test(t, "HeldFailWhenLocked", heldFailWhenLocked)
	s.test(t, "HeldTimeoutZero", heldTimeoutZero)
	s.timed(t, "HeldUntilTimeout", heldUntilTimeout)
	s.timed(t, "ContextCanceled", contextCanceled)
	s.timed(t, "ContextDeadline", contextDeadline)
	s.test(t, "ClosedBefore", closedBefore)
	s.test(t, "ClosedWhileWaiting", closedWhileWaiting)
	t.Run("Invalid", s.invalid)
}

// isError checks that err is an *Error of the operation op on a lock. Of the
// errors that package locker and context export it matches those in matches and
// no others; of the rest, also all that are in matches.
func (p *place) isError(err error, op, name string, matches ...error) {
	p.Helper()
	e, ok := err.(*locker.Error) //nolint:errorlint // every error is an *Error, none is to be unwrapped
	if !ok {
		p.Fatalf("error %q is a %T, want a *locker.Error", err, err)
	}
	if e.Op != op || e.Name != name || e.Backend == "" {
		p.Errorf("error %q: Op %q, Name %q, Backend %q, want %q, %q, and some", e, e.Op, e.Name, e.Backend, op, name)
	}
	for _, target := range []error{
		locker.ErrAlreadyLocked, locker.ErrTimeout, locker.ErrLost, locker.ErrReleased,
		locker.ErrUnavailable, locker.ErrClosed, locker.ErrInvalid,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, target) && !slices.Contains(matches, target) {
			p.Errorf("error %q matches %q, which it should not", err, target)
		}
	}
	for _, target := range matches {
		if !errors.Is(err, target) {
			p.Errorf("error %q does not match %q", err, target)
		}
	}
	message := err.Error()
	quoted := strconv.Quote(name)
	if len(name) > 32 {
		quoted = strings.TrimSuffix(strconv.Quote(name[:32]), `"`)
	}
	if strings.Contains(message, "\n") || !strings.Contains(message, quoted) {
		p.Errorf("message %q: want one line with %s in it", message, quoted)
	}
}

// fromBoth calls f with the Locker that holds the lock, and with another one.
func (p *place) fromBoth(f func(l locker.Locker)) {
	p.Helper()
	a, b := p.open(), p.open()
	lock := p.acquire(a, name)
	for _, l := range []locker.Locker{a, b} {
		p.isHeld(l, name) // and what l needs, connections say, is there
		f(l)
	}
	p.isOpen(lock)
	p.release(lock)
	p.isFree(b, name)
}

func heldFailWhenLocked(p *place) {
	p.fromBoth(func(l locker.Locker) {
		p.start(l, name, locker.WithFailWhenLocked(true)).failed(locker.ErrAlreadyLocked)
		p.start(l, name, locker.WithFailWhenLocked(true), locker.WithTimeout(locker.NoTimeout)).failed(locker.ErrAlreadyLocked)
	})
}

func heldTimeoutZero(p *place) {
	p.fromBoth(func(l locker.Locker) {
		p.start(l, name, locker.WithTimeout(0)).failed(locker.ErrAlreadyLocked)
		p.start(l, name, locker.WithTimeout(0), locker.WithFailWhenLocked(true)).failed(locker.ErrAlreadyLocked)
	})
}

func heldUntilTimeout(p *place) {
	p.fromBoth(func(l locker.Locker) {
		p.start(l, name, locker.WithTimeout(short)).failed(locker.ErrAlreadyLocked, locker.ErrTimeout)
	})
}

func contextCanceled(p *place) {
	p.fromBoth(func(l locker.Locker) {
		plain := p.start(l, name).waiting()
		plain.cancel(nil)
		plain.failed(context.Canceled)

		cause := errors.New("the user pressed ^C")
		caused := p.start(l, name).waiting()
		caused.cancel(cause)
		caused.failed(context.Canceled, cause)
	})
}

func contextDeadline(p *place) {
	p.fromBoth(func(l locker.Locker) {
		ctx, cancel := context.WithTimeout(context.Background(), short)
		defer cancel()
		p.startContext(ctx, l, name).failed(context.DeadlineExceeded)

		cause := errors.New("the night is over")
		ctx, cancel = context.WithTimeoutCause(context.Background(), short, cause)
		defer cancel()
		p.startContext(ctx, l, name, locker.WithTimeout(locker.NoTimeout)).failed(context.DeadlineExceeded, cause)
	})
}

func closedBefore(p *place) {
	l := p.open()
	p.isFree(l, name)
	p.close(l)
	p.start(l, name).failed(locker.ErrClosed)
	p.start(l, name, locker.WithTimeout(0)).failed(locker.ErrClosed)
	p.start(l, "weekly-report", locker.WithFailWhenLocked(true)).failed(locker.ErrClosed)
}

func closedWhileWaiting(p *place) {
	a, b := p.open(), p.open()
	held := p.acquire(a, name)
	first := p.start(b, name).waiting()
	second := p.start(b, name, locker.WithTimeout(locker.NoTimeout)).waiting()
	p.close(b)
	first.failed(locker.ErrClosed)
	second.failed(locker.ErrClosed)
	p.isOpen(held)
}

// invalid is found before anything is touched: it comes before "already locked",
// and a lock stays free.
func (s suite) invalid(t *testing.T) {
	for _, test := range []struct {
		title string
		name  string
		opts  []locker.Option
	}{
		{"NameEmpty", "", nil},
		{"NameTooLong", strings.Repeat("x", 1025), nil},
		{"NameNotUTF8", "report-\xff", nil},
		{"CheckIntervalZero", name, []locker.Option{locker.WithCheckInterval(0)}},
		{"CheckIntervalNegative", name, []locker.Option{locker.WithCheckInterval(-time.Second)}},
	} {
		s.test(t, test.title, func(p *place) {
			l := p.open()
			p.start(l, test.name, test.opts...).failed(locker.ErrInvalid)
			p.isFree(l, name)
			lock := p.acquire(l, name)
			p.start(l, test.name, test.opts...).failed(locker.ErrInvalid)
			p.release(lock)
		})
	}
}
