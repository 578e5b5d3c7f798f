package locktest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
	"github.com/golocker/locker/memlock"
)

// brokenVariable has this process run the suite against a broken Locker instead of
// looking at what another process finds out about it.
const brokenVariable = "LOCKTEST_BROKEN"

func TestMain(m *testing.M) {
	if os.Getenv(brokenVariable) != "" { // some leak
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// TestBroken runs the suite against Lockers that are broken on purpose, each in a
// process of its own, as the suite has to fail there. The subtest that is meant to
// find the defect has to find it.
func TestBroken(t *testing.T) {
	for _, b := range brokenLockers() {
		t.Run(b.name, func(t *testing.T) {
			if os.Getenv(brokenVariable) != "" {
				locktest.RunImpatiently(t, b.harness, 2*time.Second)
				return
			}
			t.Parallel()
			group, subtest, nested := strings.Cut(b.caught, "/")
			pattern := "^(Harness|" + group + ")$"
			if nested {
				pattern += "/^" + strings.ReplaceAll(subtest, "/", "$/^") + "$"
			}
			output := runSuite(t, pattern)
			if group != "Harness" && !strings.Contains(output, "--- PASS: "+t.Name()+"/Harness ") {
				t.Errorf("Harness has not passed:\n%s", output)
			}
			if !strings.Contains(output, "--- FAIL: "+t.Name()+"/"+b.caught+" ") {
				t.Errorf("%s has not found the defect:\n%s", b.caught, output)
			}
			t.Logf("the suite says:\n%s", findings(output))
		})
	}
}

// TestCorrect runs the suite like TestBroken, against a Locker that is not broken.
func TestCorrect(t *testing.T) {
	if os.Getenv(brokenVariable) != "" {
		locktest.Run(t, inMemory(nil))
		return
	}
	t.Parallel()
	findsNothing(t, "")
}

// TestCorrectUncomparable runs the suite against a Locker that is not broken, and cannot
// be compared. Nor can its locks.
func TestCorrectUncomparable(t *testing.T) {
	if os.Getenv(brokenVariable) != "" {
		locktest.Run(t, inMemory(func(l locker.Locker, _ string, opts []locker.Option) locker.Locker {
			return uncomparable{l.(*locker.Base), opts}
		}))
		return
	}
	t.Parallel()
	findsNothing(t, "")
}

// TestCorrectWithoutDone runs a subtest in which a timeout passes while others come,
// against a Locker that asks its ctx for Err alone: that it waits cannot be seen.
func TestCorrectWithoutDone(t *testing.T) {
	if os.Getenv(brokenVariable) != "" {
		locktest.RunImpatiently(t, withoutDone(), 10*time.Second)
		return
	}
	t.Parallel()
	findsNothing(t, "^(Harness|Order)$/^WaiterWhoGivesUpIsPassedOver$")
}

func withoutDone() locktest.Harness {
	h := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			own, end := context.WithCancelCause(context.WithoutCancel(ctx))
			defer end(nil)
			go func() {
				for ; own.Err() == nil; time.Sleep(time.Millisecond) {
					if ctx.Err() != nil {
						end(context.Cause(ctx))
					}
				}
			}()
			return l.Acquire(own, name, opts...)
		}
	})
	h.Bubble = false
	return h
}

// TestPatience runs the suite against a Locker whose waiting Acquires hang. What is waited
// for in vain makes the suite less patient, so that the end of it comes soon.
func TestPatience(t *testing.T) {
	if os.Getenv(brokenVariable) != "" {
		locktest.RunImpatiently(t, hanging(), 2*time.Second)
		return
	}
	t.Parallel()
	output := runSuite(t, "^(Harness|Order|Context|Release)$")
	var waits []string
	for _, match := range regexp.MustCompile(`(?:not|returned) after (\S+)\n`).FindAllStringSubmatch(output, -1) {
		waits = append(waits, match[1])
	}
	if len(waits) < 2 || waits[0] != "2s" || waits[len(waits)-1] != "200ms" {
		t.Errorf("the suite has waited for %v, want 2s at first, and 200ms in the end\n%s", waits, output)
	}
}

// hanging has the Locker grant free locks, and never return where it has to wait.
func hanging() locktest.Harness {
	h := acquiring(func(l locker.Locker) acquireFunc {
		return func(ctx context.Context, name string, opts ...locker.Option) (locker.Lock, error) {
			if !ask(opts).wait {
				return l.Acquire(ctx, name, opts...)
			}
			lock, err := l.Acquire(ctx, name, append(opts, locker.WithTimeout(0))...)
			if errors.Is(err, locker.ErrAlreadyLocked) {
				ctx.Done() // it is seen to wait
				select {}
			}
			return lock, err
		}
	})
	h.Bubble = false
	return h
}

// findsNothing checks that the suite passes.
func findsNothing(t *testing.T, pattern string) {
	t.Helper()
	output := runSuite(t, pattern)
	if strings.Contains(output, "FAIL") || !strings.Contains(output, "--- PASS: "+t.Name()+" ") {
		t.Errorf("the suite found something:\n%s", output)
	}
}

// runSuite runs this test in another process, with the subtests of the suite that
// pattern selects, and returns the output.
func runSuite(t *testing.T, pattern string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	if pattern != "" {
		run += "/" + pattern
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run="+run, "-test.timeout=50s")
	cmd.Env = append(os.Environ(), brokenVariable+"="+t.Name(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil || strings.Contains(string(output), "panic: ") {
		t.Fatalf("the suite has not come to its end: %v\n%s", err, output)
	}
	return string(output)
}

// findings returns the lines of an output that are not about the course of a test.
func findings(output string) string {
	var found []string
	for line := range strings.Lines(output) {
		if strings.Contains(line, ".go:") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// inMemory returns the harness of package memlock. What it opens is given to wrap,
// unless that is nil.
func inMemory(wrap func(l locker.Locker, addr string, opts []locker.Option) locker.Locker) locktest.Harness {
	places := struct {
		sync.Mutex
		byAddr map[string]*memlock.Locker // guarded by Mutex
	}{byAddr: make(map[string]*memlock.Locker)}
	return locktest.Harness{
		New: func(t testing.TB) string {
			l := memlock.New()
			t.Cleanup(func() { _ = l.Close() })
			places.Lock()
			defer places.Unlock()
			addr := strconv.Itoa(len(places.byAddr))
			places.byAddr[addr] = l
			return addr
		},
		Open: func(_ testing.TB, addr string, opts ...locker.Option) locker.Locker {
			places.Lock()
			defer places.Unlock()
			l := places.byAddr[addr].With(opts...)
			if wrap == nil {
				return l
			}
			return wrap(l, addr, opts)
		},
		Bubble: true,
	}
}
