// Package locktest tests implementations of [locker.Locker].
//
// A backend hands [Run] a [Harness], which makes places for locks and opens
// Lockers on them. Run holds the Lockers against all that package locker
// promises: who is excluded and who is next, every error, timeouts and their
// precision, what the end of a ctx does in each phase, fencing tokens, Release,
// loss, Close, and what becomes of the locks of a process that is killed. The
// names of the subtests, read with go test -v, are the specification.
//
// The suite is itself tested against Lockers that are broken on purpose.
package locktest

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
)

// A Harness is what a backend tells [Run] about itself. New and Open are
// required. What a field leaves out is not tested: the subtest is skipped and
// says why.
//
// An attempt that waits for nobody, as it gets the lock or finds it held, may take
// 100 ms at most: subtests give an Acquire a timeout of 150 ms, in which it has to
// find out.
type Harness struct {
	// New makes a fresh, empty place for locks and returns its address: a
	// directory, the URL of a server, or a key that Open looks up. Whatever must
	// be undone goes to t.Cleanup. Start a server here and not before Run, which
	// a child process would do once more.
	New func(t testing.TB) (addr string)

	// Open returns a new Locker on the place at addr. All Lockers of one addr
	// exclude each other, those of two do not, and each has a Close of its own,
	// which Run calls. The opts are the defaults of the Locker. Open is also
	// called in child processes (see CrossProcess), with the addr that New
	// returned in the parent.
	Open func(t testing.TB, addr string, opts ...locker.Option) locker.Locker

	// CrossProcess says that another process can open addr. Run then starts
	// child processes: the test binary itself, with -test.run set to the test
	// that called Run.
	CrossProcess bool

	// Recovery is how soon the lock of a process that was killed with SIGKILL
	// must be free, and its place in a queue empty. 0: they stay until someone
	// clears them away.
	Recovery time.Duration

	// Break severs a held lock of the place at addr from outside, like the
	// operator who deletes its file or kills its connection. Other locks of the
	// place may be severed with it, and connections of those who wait, as long
	// as they can recover. nil: a lock cannot be lost.
	Break func(t testing.TB, addr string, held locker.Lock)

	// Bubble says that New, Open and the Lockers work in a bubble of
	// testing/synctest, where time is exact: no network, no files that block.
	// The subtests about timing then run in one, with New and Open called inside.
	Bubble bool
}

// patience is how long Run waits for what must happen soon, while nothing has failed.
const patience = 30 * time.Second

// Run tests the Lockers that h opens. The first subtest, Harness, looks at h
// itself; when it fails, Run stops.
//
// Call Run once in a test, which must not be parallel. If h.CrossProcess is set,
// child processes run that test too, up to Run, which serves the parent there;
// what the test does before it calls Run, and TestMain, happens in them as well.
// Flags that are not of the testing package are passed on to them.
//
// Run takes an Acquire to be in the queue of its Locker once it, or a context
// made of its ctx, has called Done of the ctx. A Locker that calls Done first and
// joins its queue after that may be found to serve out of order.
func Run(t *testing.T, h Harness) {
	t.Helper()
	newSuite(t, h, patience).run(t)
}

// A suite is one Run.
type suite struct {
	Harness
	most   time.Duration // of patience
	failed *atomic.Int32 // subtests
	caller string        // the test that called Run
}

func newSuite(t *testing.T, h Harness, most time.Duration) suite {
	return suite{Harness: h, most: most, failed: new(atomic.Int32), caller: t.Name()}
}

func (s suite) run(t *testing.T) {
	t.Helper()
	if servedParent(t, s) {
		return
	}
	if !t.Run("Harness", s.harness) {
		t.Fatal("locktest: the Harness breaks its contract: nothing was found out about the backend")
	}
	t.Run("Exclusion", s.exclusion)
	t.Run("Order", s.order)
	t.Run("Errors", s.errors)
	t.Run("Options", s.options)
	t.Run("Timeout", s.timeout)
	t.Run("Context", s.context)
	t.Run("Release", s.release)
	t.Run("Token", s.token)
	t.Run("Loss", s.loss)
	t.Run("Close", s.close)
	t.Run("Process", s.process)
	t.Run("Names", s.names)
	t.Run("Inspect", s.inspect)
	t.Run("Do", s.do)
	t.Run("Stress", s.stress)
}

// test runs f as a subtest, in a place of its own.
func (s suite) test(t *testing.T, name string, f func(*place)) {
	t.Run(name, func(t *testing.T) { f(s.place(t)) })
}

// timed runs f as a subtest in which time passes, in a bubble if the harness
// allows it.
func (s suite) timed(t *testing.T, name string, f func(*place)) {
	if !s.Bubble {
		s.test(t, name, f)
		return
	}
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := s.place(t)
			p.bubble = true
			f(p)
		})
	})
}

// processes runs f as a subtest that starts other processes.
func (s suite) processes(t *testing.T, name string, f func(*place)) {
	t.Run(name, func(t *testing.T) {
		if !s.CrossProcess {
			t.Skip("CrossProcess is false: the locks are of this process alone")
		}
		f(s.place(t))
	})
}
