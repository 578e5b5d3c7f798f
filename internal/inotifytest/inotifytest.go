// Package inotifytest keeps tests that need inotify apart from those that use up its
// instances, of which a user has 128 on many a Linux: "go test ./..." runs the tests of
// several packages at the same time.
package inotifytest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
)

// Needed waits until no test uses up the instances, and has those that come wait until
// this process ends. It is for TestMain.
func Needed() error { return lock().RLock() }

// UseUp waits until no test needs inotify, and has those that come wait until t ends.
func UseUp(t *testing.T) {
	t.Helper()
	l := lock()
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	})
}

func lock() *flock.Flock {
	return flock.New(filepath.Join(os.TempDir(), fmt.Sprintf("locker-inotifytest-%d", os.Getuid())))
}
