// Fallback keeps locks in Redis where it answers, and else in files. It decides
// once, at the start, and says in the log what it has decided. What Redis answers
// with an error (a wrong password, a permission that is missing, a database that
// does not exist) is a mistake, which the program does not start with: it would
// exclude nobody. A wrong address looks like an outage; the log shows it.
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
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/redislock"
)

func main() {
	if flag.Parse(); flag.NArg() > 0 { // it takes none
		flag.Usage()
		os.Exit(2)
	}
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

// patience is how long Redis may take at the start to be reached, and then to answer.
const patience = 3 * time.Second

// probe is the lock that is tried at the start. Give it a name of your own, with the
// prefix of your other locks: a user of Redis may have no right to any other.
const probe = "locker-example-fallback:startup"

// openLocks returns a Locker on the Redis at url, or, if it does not answer, on
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
	answers, err := try(ctx, l, o)
	if err == nil {
		log.Info("locks are in Redis", "redis", o.Addr)
		return l, nil
	}
	if err := l.Close(); err != nil {
		log.Warn("closing Redis", "error", err)
	}
	if answers || ctx.Err() != nil {
		return nil, fmt.Errorf("redis at %s: %w", o.Addr, err)
	}
	inFiles, fileErr := filelock.New(dir, locker.WithLogger(log))
	if fileErr != nil {
		return nil, errors.Join(err, fileErr)
	}
	log.Warn("Redis does not answer: locks are files, and exclude no other machine", "dir", dir, "redis", o.Addr, "error", err)
	return inFiles, nil
}

// try acquires a lock, which shows more than a PING: that Redis may be written
// to, and that its user has the permissions that locks need. If that fails, it
// reports whether Redis answers all the same. In doubt it does: then the program
// does not start, which is better than locks that exclude nobody.
func try(ctx context.Context, l locker.Locker, o *redis.Options) (answers bool, err error) {
	// Apart from the lock, as a server that does not speak TLS is silent when it
	// is spoken to in TLS: that is no outage, and looks like one.
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(ctx, o.Network, o.Addr)
	if err != nil {
		return false, err
	}
	conn.Close()
	lock, err := l.Acquire(ctx, probe, locker.WithTimeout(patience), locker.WithFailWhenLocked(true))
	if err == nil {
		err = lock.Release(ctx)
	}
	if err == nil || errors.Is(err, locker.ErrAlreadyLocked) { // by another process that starts
		return true, nil
	}
	var network net.Error
	silent := o.TLSConfig == nil && errors.As(err, &network) && network.Timeout()
	loading := strings.Contains(err.Error(), ": LOADING ") // what it had saved, after a restart
	return !silent && !loading, err
}

// A redisLocker closes the client with the Locker, which leaves it open.
type redisLocker struct {
	*redislock.Locker
	client *redis.Client
}

func (l redisLocker) Close() error {
	return errors.Join(l.Locker.Close(), l.client.Close())
}
