// Package lockurl opens the backend that a URL names, so that one string of the
// configuration says where the locks of a program are.
//
//	redis://user:password@host:6379/0           Redis (with RESP3, or ?protocol=2)
//	rediss://user:password@host:6379/0          the same with TLS
//	unix://user:password@/run/redis.sock?db=0   the same by a Unix socket
//	redis+sentinel://host:26379/0?master_name=locks&addr=host2:26379
//	redis+cluster://user:password@host:6379?addr=host2:6379
//	file:///var/lib/myapp/locks                 files in a directory
//	mem://NAME                                  in memory; those with one NAME are the same locks
//
// What is after the scheme of the Redis forms is for go-redis' ParseURL,
// ParseFailoverURL (the user and password are those of Sentinel; username and password
// of Redis are parameters) and ParseClusterURL; dial_timeout and read_timeout say how
// long a server may take. rediss+sentinel and rediss+cluster use TLS. A directory that
// does not exist is made.
//
// Every form takes the options of Acquire as parameters: timeout (a duration, or none),
// check_interval and fail_when_locked. The Redis forms also take those of redislock:
// unavailable_timeout, settle_time, health_check_interval and portalocker_names. A duration
// has a unit: 1.5s. An unknown parameter is an error.
//
// The number of a database (redis://host/1) does not separate locks, because the channels
// of a Redis belong to all its databases. Names with a prefix do.
package lockurl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// Open returns a Locker on the first of the URLs whose backend answers. Open decides that
// once: the Locker never moves to another URL, because half of a fleet would not see the
// locks of the other half. A warning in the log of slog.Default says which URLs were passed
// over, and why; losses of locks are logged there, too. Close of the Locker closes
// everything that Open has opened.
//
// If any of the URLs is not valid, the error matches [locker.ErrInvalid], and nothing is
// opened. Open passes over a backend if no connection to it can be made, or if the
// connection ends or stays silent, and over a directory that does not exist and cannot be
// made. A backend that refuses is not passed over: a wrong password, a bad certificate or a
// directory without permission is a mistake, and locks elsewhere would exclude nobody. The
// error then, or if no backend answers, matches [locker.ErrUnavailable] or
// [locker.ErrInvalid]. Open does not check that Redis permits all that locks need.
//
// For each URL, Open waits at most the dial and read timeouts of go-redis: 10 s, unless the
// URL sets them. When ctx ends, Open returns the error and the cause of ctx, and tries no
// other URL. No error, and no log of this library, shows a password; go-redis has a log of
// its own, see redis.SetLogger.
func Open(ctx context.Context, urls ...string) (locker.Locker, error) {
	return OpenWith(ctx, nil, urls...)
}

// OpenWith is Open with options for all URLs. The options in a URL win over them.
func OpenWith(ctx context.Context, opts []locker.Option, urls ...string) (locker.Locker, error) {
	c, err := Choose(ctx, opts, urls...)
	return c.Locker, err
}

// A Choice is a Locker that Choose has opened, and where its locks are.
type Choice struct {
	Locker  locker.Locker
	URL     string                // the URL that was chosen, without user, password and options
	Backend string                // "redis", "file" or "memory", as in a [locker.Error]
	Redis   redis.UniversalClient // the client that Locker uses, and closes; nil if Backend is not "redis"
}

// Choose is OpenWith for a caller who needs to know which of the URLs was chosen.
func Choose(ctx context.Context, opts []locker.Option, urls ...string) (Choice, error) {
	if len(urls) == 0 {
		return Choice{}, fmt.Errorf("lockurl: %w URL: there is none; want one like %s", locker.ErrInvalid, schemes["redis"].example)
	}
	opts = append([]locker.Option{locker.WithLogger(slog.Default())}, opts...)
	backends := make([]*backend, len(urls))
	for i, u := range urls {
		var err error
		if backends[i], err = parse(u, opts); err != nil {
			return Choice{}, fmt.Errorf("lockurl: %w", err)
		}
	}
	var silent error // why backends were passed over
	for _, b := range backends {
		c, err := b.open(ctx)
		if err == nil {
			if silent != nil {
				slog.Default().WarnContext(ctx, "locks are not where they are wanted first", "locks", b.shown, "instead of", silent.Error())
			}
			return c, nil
		}
		if ctx.Err() != nil {
			err = ctx.Err()
			if cause := context.Cause(ctx); !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", err, cause)
			}
		}
		err = fmt.Errorf("%s: %w", b.shown, err)
		switch {
		case !errors.Is(err, errSilent):
			return Choice{}, fmt.Errorf("lockurl: %w", err)
		case silent == nil:
			silent = err
		default:
			silent = fmt.Errorf("%w; %w", silent, err)
		}
	}
	return Choice{}, fmt.Errorf("lockurl: %w: %w", locker.ErrUnavailable, silent)
}

// errSilent is matched by the errors of backends that do not answer.
var errSilent = errors.New("no answer")

// A backend is what a URL names.
type backend struct {
	shown string // the URL without what is secret
	open  func(context.Context) (Choice, error)
}
