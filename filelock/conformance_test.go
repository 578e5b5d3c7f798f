package filelock_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/locktest"
)

func TestConformance(t *testing.T) {
	remove := func(t testing.TB, addr string, held locker.Lock) {
		if err := os.Remove(filepath.Join(addr, held.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOOS == "windows" {
		remove = nil // an open file cannot be deleted
	}
	locktest.Run(t, locktest.Harness{
		New: func(t testing.TB) string { return t.TempDir() },
		Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
			l, err := filelock.New(addr, opts...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			return l
		},
		CrossProcess: true,
		Recovery:     250 * time.Millisecond, // the check interval; on Linux the kernel wakes the next one within 1 ms
		Break:        remove,
	})
}
