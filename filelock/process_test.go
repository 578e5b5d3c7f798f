package filelock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// holdUntilEOF is a child that holds a lock until its stdin is closed.
func holdUntilEOF(dir string) error {
	l, err := New(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	return locker.Do(context.Background(), l, "name", func(_ context.Context, lock locker.Lock) error {
		fmt.Println(lock.Token())
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	})
}

// hammer is a child that acquires and releases a lock until it is killed.
func hammer(dir string) error {
	l, err := New(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	for first := true; ; first = false {
		lock, err := l.Acquire(context.Background(), "busy", locker.WithTimeout(patience))
		if err == nil {
			err = lock.Release(context.Background())
		}
		if err != nil {
			return err
		}
		if first {
			_, _ = os.Stdout.WriteString("started\n")
		}
	}
}

// breakOne is a child that breaks a lock.
func breakOne(dir string) error {
	l, err := New(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Break(context.Background(), "name"); err != nil {
		return err
	}
	fmt.Println("broken")
	return nil
}

func TestKilledHolderFreesTheLock(t *testing.T) {
	dir := t.TempDir()
	child, _, line := startChild(t, "hold", dir)
	token, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	l, d := open(t, dir, wokenOnly())
	if _, err := l.Acquire(t.Context(), "name", locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Fatalf("Acquire = %v, want ErrAlreadyLocked", err)
	}
	waiter := acquireLater(t, l, d, "name")
	killed := time.Now()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	lock := await(t, waiter)
	t.Logf("held %v after the kill", time.Since(killed))
	if lock.Token() <= token {
		t.Errorf("token %d after %d", lock.Token(), token)
	}
	release(t, lock)
}

func TestReleaseOfAnotherProcessWakes(t *testing.T) {
	dir := t.TempDir()
	_, stdin, _ := startChild(t, "hold", dir)
	l, d := open(t, dir, wokenOnly())
	waiter := acquireLater(t, l, d, "name")
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	release(t, await(t, waiter))
}

const increments = 100 // of each child

// count is a child that reads a number and writes it back increased, and has the
// file refuse tokens that are not greater than those before.
func count(dir string) error {
	fmt.Println("started")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // all begin together
		return err
	}
	l, err := New(dir, locker.WithTimeout(patience))
	if err != nil {
		return err
	}
	defer l.Close()
	for range increments {
		err := locker.Do(context.Background(), l, "name", func(_ context.Context, lock locker.Lock) error {
			n, token, err := readCounter(dir)
			switch {
			case err != nil:
				return err
			case lock.Token() <= token:
				return fmt.Errorf("token %d after %d", lock.Token(), token)
			}
			return os.WriteFile(filepath.Join(dir, "counter"), fmt.Appendf(nil, "%d %d", n+1, lock.Token()), 0o600)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func readCounter(dir string) (n int, token uint64, err error) {
	content, err := os.ReadFile(filepath.Join(dir, "counter"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(string(content), &n, &token)
	return n, token, err
}

func TestProcessesExcludeEachOther(t *testing.T) { countTogether(t, t.TempDir()) }

// countTogether has some processes count and checks what they have counted.
func countTogether(t *testing.T, dir string) {
	t.Helper()
	const processes = 3
	var waits []func() error
	var starts []io.Closer
	for range processes {
		cmd, stdin, _ := startChild(t, "count", dir)
		waits, starts = append(waits, cmd.Wait), append(starts, stdin)
	}
	for _, start := range starts {
		if err := start.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			t.Error(err)
		}
	}
	if n, _, err := readCounter(dir); n != processes*increments || err != nil {
		t.Errorf("counted %d, %v; want %d", n, err, processes*increments)
	}
}
