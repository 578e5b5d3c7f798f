// Package orglock is how every service of the organization gets its locks: one
// configured Locker, set up by the environment, so that no service chooses
// timeouts, addresses and logging for itself.
//
//	LOCKS_REDIS_URL      the Redis for locks: redis://user:password@host:port/database
//	LOCKS_DIR            without it, a directory for lock files: this machine alone
//	LOCKS_TIMEOUT        how long to wait for a lock, like 30s; default 10s
//	LOCKS_CHECK_INTERVAL how often a waiter looks; default 250ms
package orglock

import (
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

// What holds where the environment says nothing.
const (
	defaultTimeout       = 10 * time.Second
	defaultCheckInterval = 250 * time.Millisecond
)

// Open returns the Locker of a service, which closes it at its end. It logs to
// log, with the name of the service; losses at level warn, waits at level debug.
//
// With neither LOCKS_REDIS_URL nor LOCKS_DIR, as on a developer's machine, locks
// are files in the user's cache directory, and the log warns of it. Redis is not
// connected to before the first lock.
func Open(service string, log *slog.Logger) (locker.Locker, error) {
	log = log.With("service", service)
	timeout, err := duration("LOCKS_TIMEOUT", defaultTimeout)
	if err != nil {
		return nil, err
	}
	interval, err := duration("LOCKS_CHECK_INTERVAL", defaultCheckInterval)
	if err != nil {
		return nil, err
	}
	opts := []locker.Option{locker.WithTimeout(timeout), locker.WithCheckInterval(interval), locker.WithLogger(log)}

	if url := os.Getenv("LOCKS_REDIS_URL"); url != "" {
		return openRedis(url, log, opts)
	}
	dir, hint := os.Getenv("LOCKS_DIR"), "LOCKS_DIR"
	if dir == "" {
		hint = "set LOCKS_REDIS_URL or LOCKS_DIR"
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("orglock: %s: %w", hint, err)
		}
		dir = filepath.Join(cache, "orglock")
		log.Warn("LOCKS_REDIS_URL is not set: locks exclude no other machine", "dir", dir)
	}
	l, err := filelock.New(dir, opts...)
	if err != nil {
		return nil, fmt.Errorf("orglock: %s: %w", hint, err)
	}
	log.Info("locks are files", "dir", dir)
	return l, nil
}

func openRedis(url string, log *slog.Logger, opts []locker.Option) (locker.Locker, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("orglock: LOCKS_REDIS_URL is not valid") // the reason may quote the password
	}
	client := redis.NewClient(o)
	l, err := redislock.New(client, nil, opts...)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	log.Info("locks will be in Redis", "redis", o.Addr)
	return redisLocker{l, client}, nil
}

// A redisLocker closes the client with the Locker, which leaves it open.
type redisLocker struct {
	*redislock.Locker
	client *redis.Client
}

func (l redisLocker) Close() error {
	return errors.Join(l.Locker.Close(), l.client.Close())
}

// duration returns the duration in an environment variable.
func duration(name string, preset time.Duration) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return preset, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("it must be positive")
	}
	if err != nil {
		return 0, fmt.Errorf("orglock: %s=%q: %w", name, text, err)
	}
	return d, nil
}
