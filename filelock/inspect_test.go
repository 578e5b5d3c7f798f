package filelock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

// TestWhereTheSystemNamesNoHolders runs the suite as it is where locks are not shown, or
// not all: on other systems, and in a container.
func TestWhereTheSystemNamesNoHolders(t *testing.T) {
	locktest.Run(t, locktest.Harness{
		New: func(t testing.TB) string { return t.TempDir() },
		Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
			l, d := open(t, addr, opts...)
			d.locks = func() (locks, error) { return locks{}, nil }
			return l
		},
	})
}

func TestHolderOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	child, _, _ := startChild(t, "hold", dir)
	info, err := l.Inspect(t.Context(), "name")
	host, _ := os.Hostname()
	if err != nil || !info.Held || info.Holder.PID != child.Process.Pid || info.Holder.Host != cleanHost(host) ||
		info.Holder.Token == 0 || time.Since(info.Holder.Since) > time.Minute {
		t.Errorf("%+v, %v, want process %d", info, err, child.Process.Pid)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock is free", func() bool {
		info, err := l.Inspect(t.Context(), "name")
		return err == nil && info == locker.Info{Name: "name", Waiters: info.Waiters}
	})
}

// flock(1) writes no record: the one of the holder before is not its.
func TestHolderWithoutARecord(t *testing.T) {
	if _, err := exec.LookPath("flock"); err != nil || runtime.GOOS != "linux" {
		t.Skip("it takes flock(1), of Linux")
	}
	dir := t.TempDir()
	l, _ := open(t, dir)
	release(t, acquire(t, l, "name"))
	cmd := exec.Command("flock", "--no-fork", filepath.Join(dir, "name"), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	eventually(t, "flock holds", func() bool {
		info, err := l.Inspect(t.Context(), "name")
		if err == nil && info.Held && (info.Holder.PID != cmd.Process.Pid || info.Holder.Token != 0 || !info.Holder.Since.IsZero()) {
			t.Fatalf("%+v, want process %d alone", info, cmd.Process.Pid)
		}
		return err == nil && info.Held
	})
}

func TestNamesAreOfLocksAlone(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	for _, file := range []string{"a b", "%zz", "x+c", "x%", "x+b", "X", "README.md."} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil && runtime.GOOS != "windows" {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "held"), filepath.Join(dir, "link")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	defer release(t, acquire(t, l, "held"))
	release(t, acquire(t, l, "free"))
	var names []string
	for name, err := range l.Names(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"held"}) {
		t.Errorf("names %q", names)
	}
}

func TestBreakKeepsOwnerAndMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be replaced")
	}
	dir := t.TempDir()
	l, _ := open(t, dir, locker.WithCheckInterval(10*time.Millisecond))
	path := filepath.Join(dir, "name")
	left := path + "+b" // by a Break that was killed
	if err := os.WriteFile(left, appendRecord(nil, record{token: 5, host: "h"})[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	lock := acquire(t, l, "name")
	lock.Done()
	if err := os.Chmod(path, 0o640); err != nil { //nolint:gosec // as somebody may have it
		t.Fatal(err)
	}
	if err := l.Break(t.Context(), "name"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(left); err == nil {
		t.Error("the file that took the place of the old one is there twice")
	}
	next := acquire(t, l, "name")
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

// Others can have the lock only when the holder has noticed, if it looks.
func TestBreakWaitsForTheHolderToNotice(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be replaced")
	}
	dir := t.TempDir()
	for range 20 {
		holder, _ := open(t, dir, locker.WithCheckInterval(50*time.Millisecond))
		lock := acquire(t, holder, "name")
		done := lock.Done()
		other, d := open(t, dir, wokenOnly())
		waiter := acquireLater(t, other, d, "name")
		broken := make(chan error, 1)
		go func() { broken <- other.Break(context.Background(), "name") }()
		next := await(t, waiter)
		select {
		case <-done:
		default:
			t.Error("the next one holds, and the one before does not know")
		}
		if err := <-broken; err != nil {
			t.Error(err)
		}
		release(t, next)
	}
}

func TestInspectOfAForeignFile(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "name"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Inspect(t.Context(), "name"); !errors.Is(err, locker.ErrUnavailable) || !errors.As(err, new(*fs.PathError)) {
		t.Errorf("%v, want ErrUnavailable and a PathError", err)
	}
	if err := l.Break(t.Context(), "name"); err == nil {
		t.Error("a directory was broken")
	}
	if info, err := os.Lstat(filepath.Join(dir, "name")); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
}

// A Break whose ctx ends keeps the next one out all the same, until the holder knows.
func TestBreakGoesOnWithoutItsCaller(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be replaced")
	}
	dir := t.TempDir()
	holder, _ := open(t, dir, locker.WithCheckInterval(100*time.Millisecond))
	lock := acquire(t, holder, "name")
	done := lock.Done()
	other, _ := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := other.Break(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Break = %v", err)
	}
	next := acquire(t, other, "name", locker.WithTimeout(patience), locker.WithCheckInterval(time.Millisecond))
	select {
	case <-done:
	default:
		t.Error("the next one holds, and the one before does not know")
	}
	release(t, next)
}
