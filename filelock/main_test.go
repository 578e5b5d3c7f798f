package filelock

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/inotifytest"
)

// patience bounds waits for what takes a millisecond, or never comes.
const patience = 30 * time.Second

// The environment of a child process: the test binary, run again.
const (
	childEnv = "FILELOCK_TEST_CHILD" // what the child does: a key of children
	dirEnv   = "FILELOCK_TEST_DIR"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		if err := runChild(child, os.Getenv(dirEnv)); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	if err := inotifytest.Needed(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func runChild(child, dir string) error {
	switch child {
	case "hold":
		return holdUntilEOF(dir)
	case "hammer":
		return hammer(dir)
	case "break":
		return breakOne(dir)
	case "count":
		return count(dir)
	default:
		return fmt.Errorf("no such child: %q", child)
	}
}

// startChild starts a child process and waits for the first line it prints. The
// child ends when its stdin is closed, or with the test.
func startChild(t testing.TB, child, dir string) (cmd *exec.Cmd, stdin io.Closer, line string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+child, dirEnv+"="+dir,
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("child %s: %v", child, err)
	}
	return cmd, in, line
}

// open returns a Locker and its driver, and closes it with the test.
func open(t testing.TB, dir string, opts ...locker.Option) (*Locker, *driver) {
	t.Helper()
	d := newDriver(dir)
	l := &Locker{locker.NewBase(d, opts...)}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, d
}

// wokenOnly is an option for waits that only a wake-up ends in time, where there
// are any.
func wokenOnly() locker.Option {
	if runtime.GOOS == "linux" {
		return locker.WithCheckInterval(time.Hour)
	}
	return locker.WithCheckInterval(10 * time.Millisecond)
}

func acquire(t testing.TB, l locker.Locker, name string, opts ...locker.Option) locker.Lock {
	t.Helper()
	lock, err := l.Acquire(t.Context(), name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func release(t testing.TB, lock locker.Lock) {
	t.Helper()
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

type result struct {
	lock locker.Lock
	err  error
}

// acquireLater starts an Acquire that waits, and returns when it has a place
// that it waits at.
func acquireLater(t testing.TB, l *Locker, d *driver, name string, opts ...locker.Option) <-chan result {
	t.Helper()
	ctx := t.Context()
	results := make(chan result, 1)
	go func() {
		lock, err := l.Acquire(ctx, name, append([]locker.Option{locker.WithTimeout(locker.NoTimeout)}, opts...)...)
		results <- result{lock, err}
	}()
	eventually(t, "the waiter has a place", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.places[name] != nil
	})
	return results
}

func await(t testing.TB, results <-chan result) locker.Lock {
	t.Helper()
	select {
	case r := <-results:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.lock
	case <-time.After(patience):
		t.Fatal("the waiter was not woken")
		return nil
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}
