package locker_test

import (
	"context"
	"fmt"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memlock"
)

// A program counts how often it had a lock, and how often it did not get it.
func ExampleWithTrace() {
	var held, refused int // metrics, in a real program: the functions may run at once
	locks := memlock.New(locker.WithTrace(&locker.Trace{
		Acquired: func(_ context.Context, e locker.Event) {
			if e.Err != nil {
				refused++
			} else {
				held++
			}
		},
	}))
	defer locks.Close()
	ctx := context.Background()
	lock, err := locks.Acquire(ctx, "nightly-report")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = locks.Acquire(ctx, "nightly-report", locker.WithTimeout(0))
	fmt.Println(err)
	fmt.Println(lock.Release(ctx))
	fmt.Println(held, refused)
	// Output:
	// locker: acquire "nightly-report" (memory): already locked
	// <nil>
	// 1 1
}
