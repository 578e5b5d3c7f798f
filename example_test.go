package locker_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
)

// A dirDriver is a backend of its own: a lock is a directory that exists. (It is
// here to show how little a Driver needs. A crash leaves the directory behind,
// and the token relies on the clock; package filelock knows better.)
type dirDriver struct{ parent string }

func (dirDriver) Backend() string { return "mkdir" }

func (d dirDriver) Try(_ context.Context, a *locker.Attempt) (locker.Grant, error) {
	path := filepath.Join(d.parent, fmt.Sprintf("%x", sha256.Sum256([]byte(a.Name))))
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return locker.Grant{}, locker.ErrAlreadyLocked
	}
	if err != nil {
		return locker.Grant{}, err // ErrUnavailable, and err
	}
	return locker.Grant{Token: uint64(time.Now().UnixMicro()), Hold: dirHold(path)}, nil
}

func (dirDriver) Close() error { return nil }

// A dirHold is the path of the directory.
type dirHold string

func (h dirHold) Release(context.Context) error { return os.Remove(string(h)) }

// A backend is a Driver that makes single attempts. Base does the rest: waiting,
// timeouts, options, errors, the state of a lock.
func ExampleNewBase() {
	parent, err := os.MkdirTemp("", "locks")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)
	l := locker.NewBase(dirDriver{parent})
	defer l.Close()

	ctx := context.Background()
	lock, err := l.Acquire(ctx, "nightly-report")
	fmt.Println(lock.Name(), err)
	_, err = l.Acquire(ctx, "nightly-report", locker.WithTimeout(10*time.Millisecond))
	fmt.Println(err)
	fmt.Println(lock.Release(ctx), lock.Err())
	// Output:
	// nightly-report <nil>
	// locker: acquire "nightly-report" (mkdir): already locked: gave up after 10ms
	// <nil> lock released
}

func ExampleDo() {
	l := memlock.New() // or filelock.New(dir), or redislock.New(client, nil)
	defer l.Close()

	err := locker.Do(context.Background(), l, "nightly-report", func(ctx context.Context, lock locker.Lock) error {
		// ctx is cancelled when the lock is lost.
		fmt.Println("working on", lock.Name())
		return nil
	}, locker.WithTimeout(time.Minute))
	fmt.Println(err)
	// Output:
	// working on nightly-report
	// <nil>
}

func ExampleLocker() {
	l := memlock.New()
	defer l.Close()
	ctx := context.Background()

	lock, err := l.Acquire(ctx, "nightly-report", locker.WithFailWhenLocked(true))
	if errors.Is(err, locker.ErrAlreadyLocked) {
		return // somebody else does it
	}
	if err != nil {
		panic(err)
	}
	defer lock.Release(ctx)

	fmt.Println(lock.Err())
	// Output: <nil>
}
