// Standard is a service of an organization whose services all get their locks
// from one small package, orglock. Copy that package and change its defaults.
//
//	go run ./examples/standard
//	LOCKS_REDIS_URL=redis://localhost:6379/0 LOCKS_TIMEOUT=30s go run ./examples/standard
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"github.com/golocker/locker"
	"github.com/golocker/locker/examples/standard/orglock"
)

func main() {
	if flag.Parse(); flag.NArg() > 0 { // it takes none
		flag.Usage()
		os.Exit(2)
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "standard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	locks, err := orglock.Open("billing", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer locks.Close()
	return locker.Do(ctx, locks, "invoices", func(_ context.Context, lock locker.Lock) error {
		fmt.Printf("%s is held, token %d\n", lock.Name(), lock.Token())
		return nil
	})
}
