package lockurl_test

import (
	"context"
	"fmt"
	"os"

	"github.com/golocker/locker"
	"github.com/golocker/locker/lockurl"
)

// Where the locks are is for the environment to say; without it, in memory.
func Example() {
	ctx := context.Background()
	where := os.Getenv("MYAPP_LOCKS") // like redis://redis:6379/0?timeout=30s
	if where == "" {
		where = "mem://myapp"
	}
	locks, err := lockurl.Open(ctx, where)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locks.Close()
	err = locker.Do(ctx, locks, "nightly-report", func(context.Context, locker.Lock) error {
		fmt.Println("reporting")
		return nil
	})
	fmt.Println(err)
	// Output:
	// reporting
	// <nil>
}
