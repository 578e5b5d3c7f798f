//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func TestReplacedFileIsALoss(t *testing.T) {
	replace := map[string]func(path string) error{
		"deleted": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
		"linked": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
		},
		"directory gone": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	}
	notice := map[string]func(lock locker.Lock){
		"Done":    func(lock locker.Lock) { <-lock.Done() },
		"Err":     func(locker.Lock) {},
		"Release": func(lock locker.Lock) { _ = lock.Release(t.Context()) },
	}
	for how, replace := range replace {
		for who, notice := range notice {
			t.Run(how+"/"+who, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "locks")
				l, err := New(dir, locker.WithCheckInterval(time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				lock := acquire(t, l, "name")
				if err := lock.Err(); err != nil {
					t.Fatal(err)
				}
				if err := replace(filepath.Join(dir, "name")); err != nil {
					t.Fatal(err)
				}
				notice(lock)
				if err := lock.Err(); !errors.Is(err, locker.ErrLost) {
					t.Errorf("Err = %v, want ErrLost", err)
				}
				select {
				case <-lock.Done():
				default:
					t.Error("Done is not closed")
				}
				if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
					t.Errorf("Release = %v, want ErrLost", err)
				}
			})
		}
	}
}

func TestDeletedFileKeepsNobodyOut(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir)
	second, d := open(t, dir, wokenOnly())
	path := filepath.Join(dir, "name")
	lock := acquire(t, first, "name")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	newcomer := acquire(t, second, "name", locker.WithTimeout(0))
	if newcomer.Token() <= lock.Token() {
		t.Errorf("token %d after %d", newcomer.Token(), lock.Token())
	}
	if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
		t.Errorf("Release = %v, want ErrLost", err)
	}
	release(t, newcomer)

	lock = acquire(t, first, "name")
	waiter := acquireLater(t, second, d, "name")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

func TestTokenOfADeletedFileIsTheSmaller(t *testing.T) {
	dir := t.TempDir()
	_, first := open(t, dir)
	second, _ := open(t, dir)
	path := filepath.Join(dir, "name")
	f, locked, err := lockFile(path, nil)
	if err != nil || !locked {
		t.Fatal(locked, err)
	}

	if err := os.Remove(path); err != nil { // the first one has just looked
		t.Fatal(err)
	}
	lock := acquire(t, second, "name")
	defer release(t, lock)
	late, err := first.grant(f, "name")
	if err != nil {
		t.Fatal(err)
	}
	defer late.Hold.Release(t.Context())
	if late.Token >= lock.Token() {
		t.Errorf("token %d of a deleted file, %d of the one after it", late.Token, lock.Token())
	}
}

func TestWaiterFollowsAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	first, _ := open(t, dir)
	second, d := open(t, dir, wokenOnly())
	third, _ := open(t, dir)
	path := filepath.Join(dir, "name")

	acquire(t, first, "name")
	waiter := acquireLater(t, second, d, "name")
	other := acquire(t, third, "other name")
	if err := os.Rename(filepath.Join(dir, "other%20name"), path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the waiter waits for the new file", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		p := d.places["name"]
		if p == nil {
			return false
		}
		named, err := p.file.named()
		return named && err == nil
	})
	if err := other.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
		t.Errorf("Release = %v, want ErrLost", err)
	}
	release(t, await(t, waiter))
}

func TestTokensGrowWhateverTheFileHolds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "name")
	l, _ := open(t, dir)
	write := func(content []byte) func() error {
		return func() error { return os.WriteFile(path, content, 0o600) }
	}
	ahead := uint64(time.Now().Add(time.Hour).UnixMicro())
	tests := []struct {
		name   string
		change func() error
	}{
		{"as it is", func() error { return nil }},
		{"deleted", func() error { return os.Remove(path) }},
		{"emptied", func() error { return os.Truncate(path, 0) }},
		{"torn", func() error { return os.Truncate(path, 60) }},
		{"absurd token", write(appendRecord(nil, record{token: 1<<64 - 1}))},
		{"token ahead of the clock", write(appendRecord(nil, record{token: ahead, since: time.Now()}))},
		{"as it is", func() error { return nil }},
	}
	var last uint64
	for _, test := range tests {
		if err := test.change(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		lock := acquire(t, l, "name")
		if lock.Token() <= last || lock.Token() > maxToken {
			t.Errorf("%s: token %d after %d", test.name, lock.Token(), last)
		}
		last = lock.Token()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := parseRecord(content); !ok || r.token != last || r.pid != os.Getpid() {
			t.Errorf("%s: the file holds %+v, %v", test.name, r, ok)
		}
		release(t, lock)
	}
	if last != ahead+2 {
		t.Errorf("token %d, want two more than %d", last, ahead)
	}
}

// A waiter whose file goes before there is a watch on it does not sleep on a lock
// that is free.
func TestDeletedBeforeTheWatch(t *testing.T) {
	d := newDriver(t.TempDir())
	defer d.Close()
	path := d.dir + "name"
	holder, locked, err := lockFile(path, nil)
	if err != nil || !locked {
		t.Fatal(locked, err)
	}
	defer holder.close()
	f, locked, err := lockFile(path, nil)
	if err != nil || locked {
		t.Fatal(locked, err)
	}
	defer f.close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p := (&place{}); d.settle(p, f, &locker.Attempt{Name: "name", Wait: true, CheckInterval: time.Hour}) {
		t.Errorf("the waiter waits, with the watch %v, for a file that is gone", p.watch)
	}
}

// A file that is moved after it was opened and before it is locked is a lost lock, whose
// token is smaller than that of the one who has the new file.
func TestMovedBeforeItIsLocked(t *testing.T) {
	dir := t.TempDir()
	late, d := open(t, dir)
	second, _ := open(t, dir)
	release(t, acquire(t, late, "name"))
	path := filepath.Join(dir, "name")
	f, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	lock := acquire(t, second, "name")
	defer release(t, lock)
	f, locked, err := lockFile(path, f)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.close() }()
	if !locked {
		return // it was seen
	}
	grant, err := d.grant(f, "name")
	if err != nil {
		t.Fatal(err)
	}
	if grant.Token >= lock.Token() {
		t.Errorf("token %d of the file that was moved, %d of the one in its place", grant.Token, lock.Token())
	}
	if f.Check() == nil {
		t.Error("the loss is not noticed")
	}
}
