package filelock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func TestNewMakesTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); runtime.GOOS != "windows" && got != 0o700 {
		t.Errorf("mode %v, want 0700", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("New made %v", entries)
	}

	release(t, acquire(t, l, "nightly-report"))
	info, err = os.Stat(filepath.Join(dir, "nightly-report"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); runtime.GOOS != "windows" && got != 0o600 {
		t.Errorf("lock file has mode %v, want 0600", got)
	}
}

func TestNewUsesADirectoryAsItIs(t *testing.T) {
	for _, mode := range []fs.FileMode{0o700, 0o755, 0o770, 0o777 | fs.ModeSticky} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		l, err := New(dir)
		if err != nil {
			t.Errorf("mode %v: %v", mode, err)
			continue
		}
		release(t, acquire(t, l, "name"))
		l.Close()
		if info, _ := os.Stat(dir); runtime.GOOS != "windows" && info.Mode() != fs.ModeDir|mode {
			t.Errorf("mode was %v, is %v", mode, info.Mode())
		}
	}
}

func TestNewRefusesDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		dir  string
		want error
	}{
		"no name":            {"", locker.ErrInvalid},
		"a file":             {file, locker.ErrInvalid},
		"open to everybody":  {open, locker.ErrInvalid},
		"below a file":       {filepath.Join(file, "dir"), locker.ErrUnavailable},
		"where nobody makes": {"/proc/self/locks", locker.ErrUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			switch {
			case runtime.GOOS == "windows" && test.dir == open:
				t.Skip("the mode of a directory says nothing about others on Windows")
			case runtime.GOOS != "linux" && name == "where nobody makes":
				t.Skip("there is no /proc")
			}
			l, err := New(test.dir)
			if !errors.Is(err, test.want) {
				t.Fatalf("New = %v, %v; want an error that matches %v", l, err, test.want)
			}
			t.Log(err)
			if errors.Is(test.want, locker.ErrUnavailable) {
				if _, ok := errors.AsType[*fs.PathError](err); !ok {
					t.Errorf("%v is no *fs.PathError", err)
				}
			}
		})
	}
}

func TestRelativeDirectoryOutlastsChdir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l, err := New("locks")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Chdir(t.TempDir())
	release(t, acquire(t, l, "name"))
	if _, err := os.Stat(filepath.Join(dir, "locks", "name")); err != nil {
		t.Error(err)
	}
}

func TestLockersExcludeEachOther(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir)
	second, d := open(t, dir, wokenOnly())
	lock := acquire(t, first, "name")

	_, err := second.Acquire(t.Context(), "name", locker.WithTimeout(0))
	if !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Errorf("Acquire = %v, want ErrAlreadyLocked", err)
	}
	release(t, acquire(t, second, "another name"))

	waiter := acquireLater(t, second, d, "name")
	release(t, lock)
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

func TestContextEndsAWait(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	l, d := open(t, dir, locker.WithCheckInterval(time.Hour))
	defer release(t, acquire(t, holder, "name"))

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := l.Acquire(ctx, "name", locker.WithTimeout(locker.NoTimeout))
		result <- err
	}()
	eventually(t, "the waiter has a place", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.places["name"] != nil
	})
	cancel()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Acquire = %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Acquire does not end")
	}
	eventually(t, "the place is left", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.places["name"] == nil
	})
}

func TestCloseEndsAWait(t *testing.T) {
	dir := t.TempDir()
	holder, _ := open(t, dir)
	lock := acquire(t, holder, "name")
	l, d := open(t, dir, locker.WithCheckInterval(time.Hour))
	waiter := acquireLater(t, l, d, "name")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if r := <-waiter; !errors.Is(r.err, locker.ErrClosed) {
		t.Errorf("Acquire = %v", r.err)
	}
	if len(d.places) > 0 {
		t.Errorf("places are left: %v", d.places)
	}
	release(t, lock)
}
