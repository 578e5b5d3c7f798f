package filelock

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// foreign are contents of files that other programs have written.
func foreign() map[string][]byte {
	return map[string][]byte{
		"a pid file":                 []byte("123\n"),
		"text":                       bytes.Repeat([]byte("garbage\n"), 100),
		"a JSON file with a token":   []byte(`{"token":"secret"}`),
		"one with a number":          []byte(`{"token":123}`),
		"one with a pid, too":        []byte(`{"token":123,"pid":4}`),
		"one that is long":           []byte(`{"token":123,"pid":4,"rest":"` + strings.Repeat("x", 2*recordSize) + `"}`),
		"an end of line":             []byte("\n"),
		"a space":                    []byte(" "),
		"text after zero bytes":      append(make([]byte, recordSize), "text"...),
		"the zero bytes of an image": make([]byte, 1<<20),
	}
}

func TestFileOfAnotherProgramIsLeftAlone(t *testing.T) {
	for what, content := range foreign() {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "name")
			written := time.Now().Add(-time.Hour)
			if err := errors.Join(os.WriteFile(path, content, 0o640), os.Chmod(path, 0o440), os.Chtimes(path, written, written)); err != nil { //nolint:gosec // as a program may make it
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			l, _ := open(t, dir)
			isForeign := func(did string, err error) {
				t.Helper()
				refused, ok := errors.AsType[*fs.PathError](err)
				if !ok || refused.Path != path || !errors.Is(err, locker.ErrUnavailable) {
					t.Errorf("%s = %v, want ErrUnavailable and an *fs.PathError of the file", did, err)
				}
			}
			for _, timeout := range []time.Duration{0, time.Minute} {
				lock, err := l.Acquire(t.Context(), "name", locker.WithTimeout(timeout))
				if err == nil {
					release(t, lock)
				}
				isForeign("Acquire", err)
			}
			_, err = l.Inspect(t.Context(), "name")
			isForeign("Inspect", err)
			isForeign("Break", l.Break(t.Context(), "name"))
			for name, err := range l.Names(t.Context()) {
				t.Errorf("Names: %q, %v", name, err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(after, before) || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("the file was %v, is %v, %v", before, after, err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("the file has become %q, %v", got[:min(len(got), 300)], err)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
				t.Errorf("the directory has %v, %v", files, err)
			}
		})
	}
}

// A file that another program locks by flock(2), too, is no lock of ours that is held.
func TestLockedFileOfAnotherProgramIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	l, d := open(t, dir)
	path := filepath.Join(dir, "name")
	lock := acquire(t, l, "name")
	content := []byte("app=1\n")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Skip("the file cannot be written while it is locked: ", err)
	}
	if _, err := l.Inspect(t.Context(), "name"); !errors.Is(err, errForeign) {
		t.Errorf("Inspect = %v", err)
	}
	if err := l.Break(t.Context(), "name"); !errors.Is(err, errForeign) {
		t.Errorf("Break = %v", err)
	}
	for name, err := range l.Names(t.Context()) {
		t.Errorf("Names: %q, %v", name, err)
	}
	if _, err := d.Try(t.Context(), &locker.Attempt{Name: "name"}); !errors.Is(err, errForeign) {
		t.Errorf("Try = %v", err)
	}
	release(t, lock)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file has become %q, %v", got, err)
	}
}

// One who waits already finds out when its turn has come.
func TestFileThatAnotherProgramOverwritesIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	path := filepath.Join(dir, "name")
	lock := acquire(t, first, "name")
	results := acquireLater(t, second, d, "name", locker.WithTimeout(100*time.Millisecond))
	content := []byte("app=1\n")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Skip("the file cannot be written while it is locked: ", err)
	}
	release(t, lock)
	if r := <-results; !errors.Is(r.err, errForeign) || !errors.Is(r.err, locker.ErrUnavailable) {
		t.Errorf("Acquire = %v", r.err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file has become %q, %v", got, err)
	}
}

// Break makes a file next to that of the lock. What is there already is not its own.
func TestBreakLeavesAnotherFileAlone(t *testing.T) {
	dir := t.TempDir()
	l, _ := open(t, dir)
	lock := acquire(t, l, "name")
	neighbour := filepath.Join(dir, "name+b")
	if err := os.WriteFile(neighbour, []byte("app=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := l.Break(t.Context(), "name")
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	refused, ok := errors.AsType[*fs.PathError](err)
	if !ok || refused.Path != neighbour || !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Break = %v, want ErrUnavailable and an *fs.PathError of %s", err, neighbour)
	}
	if got, err := os.ReadFile(neighbour); err != nil || string(got) != "app=1\n" {
		t.Errorf("the file has become %q, %v", got, err)
	}
	if err := lock.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
	release(t, lock)
}

func TestTornRecordIsOurs(t *testing.T) {
	record := appendRecord(nil, record{token: 1732385415123456, pid: 1234, host: "web-1", since: time.Unix(1, 2)})
	older := appendRecord(nil, recordOf(1732385415123400))
	long := appendName(slices.Clone(record), strings.Repeat("x", 1000))
	ours := map[string][]byte{"nothing": nil, "a record": record, "a long name": long, "a record and more": append(slices.Clone(record), "more"...)}
	for k := range len(long) {
		ours["the beginning"] = long[:k]
		padded := make([]byte, len(long))
		copy(padded, long[:k])
		ours["the beginning, then zero bytes"] = padded
		ours["zero bytes"] = make([]byte, k)
		if k > 30 && k < recordSize {
			ours["one over an older one"] = append(slices.Clone(record[:k]), older[k:]...)
		}
		for what, content := range ours {
			if !isOurs(content) {
				t.Fatalf("%s: %q is not ours", what, content)
			}
		}
	}
	for what, content := range foreign() {
		if isOurs(content[:min(len(content), maxContent+1)]) {
			t.Errorf("%s: %q is ours", what, content)
		}
	}
}

func recordOf(token uint64) record {
	return record{token: token, pid: 7, host: "a-machine", since: time.Unix(1, 0)}
}

// A crash leaves what the next holder overwrites.
func TestTornRecordIsOverwritten(t *testing.T) {
	record := appendRecord(nil, recordOf(5))
	for k := 0; k <= recordSize; k += 16 {
		dir := t.TempDir()
		l, d := open(t, dir)
		f := &file{path: d.dir + "name"}
		if err := os.WriteFile(f.recordPath(), append(slices.Clone(record[:k]), make([]byte, recordSize-k)...), 0o600); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, l, "name"))
	}
}
