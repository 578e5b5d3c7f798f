package main

import (
	"context"
	"errors"

	"github.com/golocker/locker"
)

// Reports writes reports. Many processes may run it; each report is written by
// one of them at a time.
type Reports struct {
	Locks locker.Locker

	// Write writes the report of a day. Its ctx is cancelled when the lock is
	// lost; the storage can refuse a token smaller than one that it has seen.
	Write func(ctx context.Context, day string, token uint64) error
}

// ErrInProgress is the error of a report that another process is writing.
var ErrInProgress = errors.New("another process is writing this report")

// Nightly writes the report of a day, or returns ErrInProgress.
func (r *Reports) Nightly(ctx context.Context, day string) error {
	err := locker.Do(ctx, r.Locks, "report-"+day, func(ctx context.Context, lock locker.Lock) error {
		return r.Write(ctx, day, lock.Token())
	}, locker.WithFailWhenLocked(true))
	if errors.Is(err, locker.ErrAlreadyLocked) {
		return ErrInProgress
	}
	return err
}
