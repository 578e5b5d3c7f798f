package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
)

func fileContenders() []contender {
	return []contender{
		{
			name: ours, place: inFiles, open: openFilelock,
			settings: "github.com/golocker/locker/filelock: its defaults, WithTimeout(NoTimeout)",
		},
		{
			name: "flock, polling", place: inFiles, open: openFlock(false), poll: flockDelay,
			settings: fmt.Sprintf("github.com/gofrs/flock: TryLockContext, every %v as in its example", flockDelay),
		},
		{
			name: "flock, blocking", place: inFiles, open: openFlock(true),
			settings: "github.com/gofrs/flock: Lock, which no context ends; it keeps a thread",
		},
	}
}

func openFilelock(_ context.Context, p places) (client, error) {
	l, err := filelock.New(p.Dir, locker.WithTimeout(locker.NoTimeout))
	if err != nil {
		return nil, err
	}
	return &lockerClient{Locker: l}, nil
}

const flockDelay = 678 * time.Millisecond

type flockClient struct {
	dir      string
	blocking bool
}

func openFlock(blocking bool) func(context.Context, places) (client, error) {
	return func(_ context.Context, p places) (client, error) {
		return &flockClient{p.Dir, blocking}, nil
	}
}

func (c *flockClient) acquire(ctx context.Context, name string) (func() error, error) {
	f := flock.New(filepath.Join(c.dir, name))
	if c.blocking {
		if err := f.Lock(); err != nil {
			return nil, err
		}
		return f.Unlock, nil
	}
	switch ok, err := f.TryLockContext(ctx, flockDelay); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New("flock: not locked")
	}
	return f.Unlock, nil
}

func (c *flockClient) close() error { return nil }
