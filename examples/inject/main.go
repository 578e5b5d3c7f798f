// Inject shows a service that is given its locks: Reports takes a locker.Locker
// and does not know which backend it is. Here, main gives it files; its test
// gives it memory.
//
//	go run ./examples/inject
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/golocker/locker/filelock"
)

func main() {
	if flag.Parse(); flag.NArg() > 0 { // it takes none
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "locker-inject-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	locks, err := filelock.New(filepath.Join(dir, "locks"))
	if err != nil {
		return err
	}
	defer locks.Close()

	r := &Reports{Locks: locks, Write: func(_ context.Context, day string, token uint64) error {
		fmt.Printf("writing the report of %s, token %d\n", day, token)
		return nil
	}}
	return r.Nightly(ctx, "2026-01-02")
}
