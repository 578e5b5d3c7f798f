// Fallback keeps locks in Redis where it answers, and else in files. It decides
// once, at the start, and says in the log what it has decided.
//
//	go run ./examples/fallback
//	REDIS_URL=redis://localhost:6379/0 go run ./examples/fallback
//
// A program that runs on one machine loses nothing by the fallback. Of one that
// runs on many, those that fell back exclude only the processes of their own
// machine: there, a program had better not start without Redis. In neither case
// may it change over later, in mid-run: half of the processes would then not see
// the locks of the other half.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/redislock"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "fallback:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	url := cmp.Or(os.Getenv("REDIS_URL"), "redis://localhost:6379/0")
	locks, err := openLocks(ctx, url, filepath.Join(cache, "locker-example-fallback"), log)
	if err != nil {
		return err
	}
	defer locks.Close()
	return locker.Do(ctx, locks, "nightly-report", func(_ context.Context, lock locker.Lock) error {
		fmt.Printf("%s is held, token %d\n", lock.Name(), lock.Token())
		return nil
	})
}

// patience is how long Redis may take to answer at the start.
const patience = 3 * time.Second

// openLocks returns a Locker on the Redis at url, or, if it cannot be used, on
// the files in dir. The log tells which; it never shows the password of the URL.
func openLocks(ctx context.Context, url, dir string, log *slog.Logger) (locker.Locker, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		// A mistake in the configuration, not an outage. The reason may quote
		// the password.
		return nil, errors.New("the URL of Redis is not valid: want redis://user:password@host:port/database")
	}
	client := redis.NewClient(o)
	inRedis, err := redislock.New(client, nil, locker.WithLogger(log))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	l := redisLocker{inRedis, client}
	unavailable := try(ctx, l)
	if unavailable == nil {
		log.Info("locks are in Redis", "redis", o.Addr)
		return l, nil
	}
	if err := l.Close(); err != nil {
		log.Warn("closing Redis", "error", err)
	}
	if !errors.Is(unavailable, locker.ErrUnavailable) {
		return nil, unavailable // ctx has ended
	}
	inFiles, err := filelock.New(dir, locker.WithLogger(log))
	if err != nil {
		return nil, err
	}
	log.Warn("Redis cannot be used: locks are files, and exclude no other machine", "dir", dir, "redis", o.Addr, "error", unavailable)
	return inFiles, nil
}

// try acquires a lock, which shows more than a PING: that Redis may be written
// to, and that its user has the permissions that locks need.
func try(ctx context.Context, l locker.Locker) error {
	lock, err := l.Acquire(ctx, "locker-example-startup", locker.WithTimeout(patience), locker.WithFailWhenLocked(true))
	if errors.Is(err, locker.ErrAlreadyLocked) {
		return nil // by another process that starts
	}
	if err != nil {
		return err
	}
	return lock.Release(ctx)
}

// A redisLocker closes the client with the Locker, which leaves it open.
type redisLocker struct {
	*redislock.Locker
	client *redis.Client
}

func (l redisLocker) Close() error {
	return errors.Join(l.Locker.Close(), l.client.Close())
}
