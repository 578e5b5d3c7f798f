package filelock

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"github.com/golocker/locker"
)

// A directory that nobody can write to is an error that says so, of the first
// Acquire.
func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	switch {
	case runtime.GOOS == "windows":
		t.Skip("the mode of a directory says nothing there")
	case os.Geteuid() != 0:
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	case runtime.GOOS == "linux":
		dir = "/proc" // here root cannot make files either
	default:
		t.Skip("root may write everywhere")
	}
	l, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = l.Acquire(t.Context(), "nightly-report")
	var path *fs.PathError
	if !errors.Is(err, locker.ErrUnavailable) || !errors.As(err, &path) {
		t.Errorf("Acquire: %v, want ErrUnavailable and a *fs.PathError", err)
	}
}
