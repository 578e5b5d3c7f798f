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
// All forms take the options of Acquire as parameters: timeout (a duration, or none),
// check_interval and fail_when_locked; the Redis forms take those of redislock, too:
// unavailable_timeout, settle_time, health_check_interval and
// portalocker_names. The number of a database (redis://host/1) does not separate locks, as
// the channels of a Redis are those of all its databases: names with a prefix do. Their durations have a unit: 1.5s. An unknown parameter is an error.
package lockurl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/golocker/locker"
)

// Open returns a Locker on the first of the URLs whose backend answers. That is decided
// once: it never changes over later, when half of a fleet would not see the locks of
// the other half. A warning in the log of slog.Default says which URLs were passed over,
// and why; losses of locks are logged there, too. Close of the Locker closes all that
// Open has opened.
//
// A URL that is not valid is an error that matches [locker.ErrInvalid], whichever it
// is, and nothing is opened. A backend is passed over when no connection to it can be
// made, or the connection ends or stays silent, and a directory that cannot be made where
// there is none. One that refuses (a wrong password, a certificate, a directory without
// permission) is not: that is a mistake, and locks elsewhere would exclude nobody. Its
// error, and that of backends of which none answers, matches [locker.ErrUnavailable] or
// [locker.ErrInvalid]. Whether Redis permits all that locks need is not looked at.
//
// Open takes the dial and read timeouts of go-redis for each URL at most, 10 s if the
// URL says nothing. When ctx ends, so does Open, with the error and the cause of ctx,
// and the rest is not tried. No error, and no log of this library, shows a password;
// go-redis has a log of its own, see redis.SetLogger.
func Open(ctx context.Context, urls ...string) (locker.Locker, error) {
	return OpenWith(ctx, nil, urls...)
}

// OpenWith is Open with options for all URLs, whose own win over them.
func OpenWith(ctx context.Context, opts []locker.Option, urls ...string) (locker.Locker, error) {
	if len(urls) == 0 {
		return nil, fmt.Errorf("lockurl: %w URL: there is none; want one like %s", locker.ErrInvalid, examples["redis"])
	}
	opts = append([]locker.Option{locker.WithLogger(slog.Default())}, opts...)
	backends := make([]*backend, len(urls))
	for i, u := range urls {
		var err error
		if backends[i], err = parse(u, opts); err != nil {
			return nil, fmt.Errorf("lockurl: %w", err)
		}
	}
	var silent silence
	for _, b := range backends {
		l, err := b.open(ctx)
		if err == nil {
			if len(silent) > 0 {
				slog.Default().WarnContext(ctx, "locks are not where they are wanted first", "locks", b.shown, "instead of", silent.Error())
			}
			return l, nil
		}
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
			if cause := context.Cause(ctx); !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", err, cause)
			}
			return nil, fmt.Errorf("lockurl: %s: %w", b.shown, err)
		case !errors.Is(err, errSilent):
			return nil, fmt.Errorf("lockurl: %s: %w", b.shown, err)
		}
		silent = append(silent, fmt.Errorf("%s: %w", b.shown, err))
	}
	return nil, fmt.Errorf("lockurl: %w: %w", locker.ErrUnavailable, silent)
}

// A silence is why each of some backends was passed over.
type silence []error

func (s silence) Error() string {
	texts := make([]string, len(s))
	for i, err := range s {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (s silence) Unwrap() []error { return s }

// errSilent is matched by the errors of backends that do not answer.
var errSilent = errors.New("no answer")

// A backend is what a URL names.
type backend struct {
	shown string // the URL without what is secret
	open  func(context.Context) (locker.Locker, error)
}
