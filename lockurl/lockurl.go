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
// of Redis are parameters) and ParseClusterURL. rediss+sentinel and rediss+cluster use
// TLS.
//
// All forms take the options of Acquire as parameters: timeout (a duration, or none),
// check_interval and fail_when_locked; the Redis forms take those of redislock, too:
// unavailable_timeout, settle_time, health_check_interval, linger and
// portalocker_names. An unknown parameter is an error.
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
// and why. Close of the Locker closes all that Open has opened.
//
// A URL that is not valid is an error that matches [locker.ErrInvalid], whichever it
// is, and nothing is opened. A backend that answers with a refusal (a wrong password, a
// certificate, a directory that others may write to) is not passed over: that is a
// mistake, and locks elsewhere would exclude nobody. Its error, and that of a last
// backend that does not answer, match [locker.ErrUnavailable] or [locker.ErrInvalid].
// No error and no log shows a password. Open takes the dial and read timeouts of
// go-redis for each URL at most, until ctx ends.
func Open(ctx context.Context, urls ...string) (locker.Locker, error) {
	if len(urls) == 0 {
		return nil, fmt.Errorf("lockurl: %w URL: there is none; want one like %s", locker.ErrInvalid, exampleOf("redis"))
	}
	backends := make([]*backend, len(urls))
	for i, u := range urls {
		var err error
		if backends[i], err = parse(u); err != nil {
			return nil, fmt.Errorf("lockurl: %w", err)
		}
	}
	var silent []string
	for _, b := range backends {
		l, err := b.open(ctx)
		if err == nil {
			if len(silent) > 0 {
				slog.Default().WarnContext(ctx, "locks are not where they are wanted first", "locks", b.shown, "instead of", strings.Join(silent, "; "))
			}
			return l, nil
		}
		err = fmt.Errorf("%s: %w", b.shown, err)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("lockurl: %w", errors.Join(ctx.Err(), context.Cause(ctx)))
		case !errors.Is(err, errSilent):
			return nil, fmt.Errorf("lockurl: %w", err)
		}
		silent = append(silent, err.Error())
	}
	return nil, fmt.Errorf("lockurl: %w: %s", locker.ErrUnavailable, strings.Join(silent, "; "))
}

// errSilent is matched by the errors of backends that do not answer.
var errSilent = errors.New("no answer")

// A backend is what a URL names.
type backend struct {
	shown string // the URL without what is secret
	open  func(context.Context) (locker.Locker, error)
}
