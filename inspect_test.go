package locker_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
)

func TestInspectInMemory(t *testing.T) {
	d := newDiary()
	l := memlock.New(locker.WithTrace(d.trace()), locker.WithTimeout(locker.NoTimeout))
	defer l.Close()
	if info, err := l.Inspect(t.Context(), "n"); err != nil || info != (locker.Info{Name: "n"}) {
		t.Errorf("a free lock: %+v, %v", info, err)
	}
	lock, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	d.await(t, d.entries[0])
	next := make(chan locker.Lock, 1)
	go func() {
		lock, err := l.Acquire(context.Background(), "n")
		if err != nil {
			t.Error(err)
		}
		next <- lock
	}()
	d.await(t, "memory n 0 waiting")
	info, err := l.Inspect(t.Context(), "n")
	if err != nil || !info.Held || info.Holder.PID != os.Getpid() || info.Holder.Token != lock.Token() || info.Waiters != 1 {
		t.Errorf("a lock that is held: %+v, %v", info, err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	lock = <-next
	info, err = l.Inspect(t.Context(), "n")
	if err != nil || info.Holder.Token != lock.Token() || info.Waiters != 0 {
		t.Errorf("the next holder: %+v, %v", info, err)
	}
	_ = lock.Release(t.Context())
}

func TestBreakInMemory(t *testing.T) {
	l := memlock.New(locker.WithTimeout(locker.NoTimeout))
	defer l.Close()
	if err := l.Break(t.Context(), "n"); err != nil {
		t.Errorf("a free lock: %v", err)
	}
	for _, asked := range []bool{true, false} {
		lock, err := l.Acquire(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		if asked {
			lock.Done()
		}
		next := make(chan locker.Lock, 1)
		go func() {
			lock, err := l.Acquire(context.Background(), "n")
			if err != nil {
				t.Error(err)
			}
			next <- lock
		}()
		if err := l.Break(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-lock.Done():
		default:
			t.Error("Done is open")
		}
		successor := <-next
		for range 2 {
			if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) || !errors.Is(lock.Err(), locker.ErrLost) {
				t.Errorf("Release: %v, Err: %v", err, lock.Err())
			}
		}
		if err := successor.Err(); err != nil {
			t.Errorf("the successor: %v", err)
		}
		if err := successor.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesInMemory(t *testing.T) {
	l := memlock.New()
	defer l.Close()
	for _, name := range []string{"a", "b", "c"} {
		if _, err := l.Acquire(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for name, err := range l.Names(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("names %q", names)
	}
	for range l.Names(t.Context()) {
		break
	}
}

func TestInspectorErrors(t *testing.T) {
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	closed := memlock.New()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	open := memlock.New()
	defer open.Close()
	for what, c := range map[string]struct {
		l    locker.Inspector
		ctx  context.Context
		name string
		want error
	}{
		"no name":      {open, t.Context(), "", locker.ErrInvalid},
		"not UTF-8":    {open, t.Context(), "\xff", locker.ErrInvalid},
		"ctx is over":  {open, over, "n", errGone},
		"closed":       {closed, t.Context(), "n", locker.ErrClosed},
		"cannot tell":  {locker.NewBase(&lossy{}), t.Context(), "n", errors.ErrUnsupported},
		"cannot reach": {locker.NewBase(&blind{err: errors.New("out of order")}), t.Context(), "n", locker.ErrUnavailable},
		"its own time": {locker.NewBase(&blind{err: context.DeadlineExceeded}), t.Context(), "n", locker.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := c.l.Inspect(c.ctx, c.name)
			check := func(op string, err error, name string) {
				t.Helper()
				var e *locker.Error
				if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Op != op || e.Name != name {
					t.Errorf("%s: %v, want %v", op, err, c.want)
				}
			}
			check("inspect", err, c.name)
			check("break", c.l.Break(c.ctx, c.name), c.name)
			if errors.Is(c.want, locker.ErrInvalid) {
				return
			}
			told := false
			for _, err := range c.l.Names(c.ctx) {
				check("inspect", err, "")
				told = strings.HasPrefix(err.Error(), "locker: inspect all (")
			}
			if !told {
				t.Error("Names says nothing, or not what it is about")
			}
		})
	}
}

// Close waits for an Inspect that is under way, and so does not close the Driver.
func TestCloseWaitsForInspect(t *testing.T) {
	d := &slowLook{begun: make(chan struct{}), goOn: make(chan struct{})}
	l := locker.NewBase(d)
	inspected := make(chan error, 1)
	go func() {
		_, err := l.Inspect(context.Background(), "n")
		inspected <- err
	}()
	<-d.begun
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(d.goOn)
	if err := <-inspected; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

var errGone = errors.New("gone home")

// A blind is a Driver that cannot reach what it is to look at.
type blind struct {
	lossy
	err error
}

func (d *blind) Inspect(context.Context, string) (locker.Info, error) { return locker.Info{}, d.err }
func (d *blind) Break(context.Context, string) error                  { return d.err }
func (d *blind) Names(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", d.err) }
}

// A slowLook takes its time.
type slowLook struct {
	lossy
	begun, goOn chan struct{}
}

func (d *slowLook) Inspect(_ context.Context, name string) (locker.Info, error) {
	close(d.begun)
	<-d.goOn
	return locker.Info{Name: name}, nil
}
func (*slowLook) Break(context.Context, string) error            { return nil }
func (*slowLook) Names(context.Context) iter.Seq2[string, error] { return nil }

// Close may be called while names are yielded, and ends that.
func TestCloseWhileNamesAreYielded(t *testing.T) {
	l := memlock.New()
	for _, name := range []string{"a", "b"} {
		if _, err := l.Acquire(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	var errs []error
	for _, err := range l.Names(t.Context()) {
		errs = append(errs, err)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], locker.ErrClosed) {
		t.Errorf("%v, want a name, and that it is closed", errs)
	}
}
