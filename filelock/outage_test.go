//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

func TestWaiterOutlastsWhatCannotBeLocked(t *testing.T) {
	// Each makes what the directory of the locks is replaced by.
	replacements := map[string]func(dir, path string) error{
		"nothing":          func(string, string) error { return nil },
		"a file":           func(dir, _ string) error { return os.WriteFile(dir, nil, 0o600) },
		"a link to itself": func(dir, _ string) error { return os.Symlink("locks", dir) },
		"a directory in place of the file": func(_, path string) error {
			return os.MkdirAll(path, 0o700)
		},
		"a link in place of the file": func(dir, path string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path+".old", nil, 0o600), os.Symlink(path+".old", path))
		},
		"a pipe in place of the file": func(dir, path string) error {
			return errors.Join(os.Mkdir(dir, 0o700), unix.Mkfifo(path, 0o600))
		},
		"another file's name": func(dir, path string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path+".old", []byte("precious"), 0o600), os.Link(path+".old", path))
		},
	}
	for what, replacement := range replacements {
		t.Run(what, func(t *testing.T) {
			parent := t.TempDir()
			dir, staged := filepath.Join(parent, "locks"), filepath.Join(parent, "staged")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			first, _ := open(t, dir)
			second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
			lock := acquire(t, first, "name")
			outages := make(outages)
			waiter := acquireLater(t, second, d, "name", locker.WithLogger(slog.New(outages)))
			fds := openFiles(t)

			if err := replacement(staged, filepath.Join(staged, "name")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(dir, filepath.Join(parent, "old")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(staged, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			for range 10 {
				err := outages.await(t)
				if _, ok := errors.AsType[*fs.PathError](err); !ok {
					t.Errorf("%v is no *fs.PathError", err)
				}
			}
			if got := openFiles(t); got > fds {
				t.Errorf("%d descriptors, %d before", got, fds)
			}
			if err := os.Rename(dir, staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			next := await(t, waiter)
			if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Release = %v, want ErrLost", err)
			}
			if next.Token() <= lock.Token() {
				t.Errorf("token %d after %d", next.Token(), lock.Token())
			}
			release(t, next)
		})
	}
}

// outages is a log that hands on why attempts fail that are part of a wait.
type outages chan error

func (outages) Enabled(context.Context, slog.Level) bool { return true }
func (o outages) WithAttrs([]slog.Attr) slog.Handler     { return o }
func (o outages) WithGroup(string) slog.Handler          { return o }

func (o outages) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		err, _ := a.Value.Any().(error)
		if a.Key == "attempt" && errors.Is(err, locker.ErrUnavailable) {
			select {
			case o <- err:
			default: // nobody asks
			}
		}
		return true
	})
	return nil
}

// await returns why the next attempt fails, which says what is in the way.
func (o outages) await(t testing.TB) error {
	t.Helper()
	select {
	case err := <-o:
		return err
	case <-time.After(patience):
		t.Fatal("no attempt fails")
		return nil
	}
}
