// Fencing shows what a fencing token is for: a holder that has lost its lock, and
// did not look, writes to a store, and the store refuses it.
//
//	go run ./examples/fencing
//
// The lock is a file, and it is lost because somebody deletes the file. Windows
// does not let an open file be deleted: the example ends there with an error.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
)

func main() {
	if flag.Parse(); flag.NArg() > 0 { // it takes none
		flag.Usage()
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "locker-fencing-")
	if err == nil {
		err = run(context.Background(), os.Stdout, dir)
		os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fencing:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir string) error {
	// Two Lockers, as two processes would have.
	first, err := filelock.New(dir)
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := filelock.New(dir)
	if err != nil {
		return err
	}
	defer second.Close()
	var store Store

	slow, err := first.Acquire(ctx, "balance")
	if err != nil {
		return err
	}
	defer slow.Release(ctx)
	fmt.Fprintf(out, "the first holder has token %d, and works slowly\n", slow.Token())

	// A lock is lost from outside: here, somebody tidies up.
	if err := os.Remove(filepath.Join(dir, "balance")); err != nil {
		return err
	}
	fmt.Fprintln(out, "its lock file is deleted")

	err = locker.Do(ctx, second, "balance", func(_ context.Context, lock locker.Lock) error {
		fmt.Fprintf(out, "the second holder has token %d\n", lock.Token())
		return store.Write(lock.Token(), "second")
	})
	if err != nil {
		return err
	}

	// The first holder should have looked at Done or Err, or worked in the ctx of
	// locker.Do or locker.Context. It did not.
	err = store.Write(slow.Token(), "first")
	fmt.Fprintf(out, "the first holder writes: %v\n", err)
	fmt.Fprintf(out, "the store has the value of the %s holder\n", store.Read())
	fmt.Fprintf(out, "had the first holder looked: %v\n", slow.Err())
	return nil
}
