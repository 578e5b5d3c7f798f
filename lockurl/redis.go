package lockurl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

// A redisLocker closes its client with it.
type redisLocker struct {
	*redislock.Locker
	client io.Closer
}

// Close implements locker.Locker. A second call returns nil.
func (l *redisLocker) Close() error {
	err := l.Locker.Close()
	if e := l.client.Close(); e != nil && !errors.Is(e, redis.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// onRedis returns how a scheme is parsed whose URLs, without what follows a + in the
// scheme, go-redis parses.
func onRedis[O any](parse func(string) (*O, error), connect func(*O) redis.UniversalClient) func(*url.URL) (opener, error) {
	return func(u *url.URL) (opener, error) {
		if u.Host == "" && u.Scheme != "unix" {
			return nil, errors.New("it has no host")
		}
		u.Scheme, _, _ = strings.Cut(u.Scheme, "+")
		o, err := parse(u.String())
		if err != nil {
			return nil, fmt.Errorf("%s (the options are those of go-redis, and %s)", strings.TrimPrefix(err.Error(), "redis: "), names(redisOptions))
		}
		return func(ctx context.Context, s settings) (Choice, error) {
			client := connect(o)
			l, err := redislock.New(client, &s.redis, s.acquire...)
			if err == nil {
				err = answers(ctx, client)
			}
			if err != nil {
				return Choice{}, errors.Join(err, client.Close())
			}
			return Choice{Locker: &redisLocker{l, client}, Redis: client}, nil
		}, nil
	}
}

func single(o *redis.Options) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o)
}

func cluster(o *redis.ClusterOptions) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	return redis.NewClusterClient(o)
}

func sentinel(o *redis.FailoverOptions) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	return redis.NewFailoverClient(o)
}

func parseSentinel(u string) (*redis.FailoverOptions, error) {
	o, err := redis.ParseFailoverURL(u)
	switch {
	case err != nil:
	case o.MasterName == "":
		err = errors.New("there is no master_name")
	case o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly:
		err = errors.New("a replica has no locks")
	}
	return o, err
}

// patience is how long a server may take to be reached, and then to answer.
func patience(client redis.UniversalClient) time.Duration {
	const unlimited = 10 * time.Second // by go-redis: it is no time to wait for at the start of a program
	var dial, read time.Duration
	switch c := client.(type) {
	case *redis.Client:
		dial, read = c.Options().DialTimeout, c.Options().ReadTimeout
	case *redis.ClusterClient:
		dial, read = c.Options().DialTimeout, c.Options().ReadTimeout
	}
	if dial <= 0 || read <= 0 {
		return unlimited
	}
	return dial + read
}

// answers returns nil if Redis answers, an error that matches errSilent if it does not,
// and another one if it refuses.
func answers(ctx context.Context, client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, patience(client))
	defer cancel()
	ping := make(chan error, 1)
	go func() { ping <- client.Ping(ctx).Err() }() // go-redis heeds no more of ctx than its deadline
	var err error
	select {
	case err = <-ping:
	case <-ctx.Done():
		err = ctx.Err()
	}
	var reply redis.Error
	switch {
	case err == nil, redis.HasErrorPrefix(err, "NOPERM"): // a lock does not need PING
		return nil
	case errors.As(err, &reply):
		// Redis repeats the arguments of a command that it does not know: of AUTH, that
		// is the password.
		text, _, _ := strings.Cut(err.Error(), ", with args")
		return fmt.Errorf("%w: %s", locker.ErrUnavailable, text)
	case errors.As(err, new(*tls.CertificateVerificationError)), strings.Contains(err.Error(), "redis: can't parse"): // it is no Redis
		return fmt.Errorf("%w: %w", locker.ErrUnavailable, err)
	default:
		return fmt.Errorf("%w: %w", errSilent, err)
	}
}
