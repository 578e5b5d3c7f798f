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

// redisOpener returns what opens the Redis that u names.
func redisOpener(u *url.URL) (func(context.Context, redislock.Options, []locker.Option) (locker.Locker, error), error) {
	scheme, kind, _ := strings.Cut(u.Scheme, "+")
	u.Scheme = scheme
	var connect func() (redis.UniversalClient, time.Duration)
	switch kind {
	case "sentinel":
		o, err := redis.ParseFailoverURL(u.String())
		if err == nil && o.MasterName == "" {
			err = errors.New("there is no master_name")
		}
		if err == nil && (o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly) {
			err = errors.New("a replica has no locks")
		}
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		connect = func() (redis.UniversalClient, time.Duration) {
			c := redis.NewFailoverClient(o)
			return c, patience(c.Options().DialTimeout, c.Options().ReadTimeout)
		}
	case "cluster":
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		connect = func() (redis.UniversalClient, time.Duration) {
			c := redis.NewClusterClient(o)
			return c, patience(c.Options().DialTimeout, c.Options().ReadTimeout)
		}
	default:
		o, err := redis.ParseURL(u.String())
		if err != nil {
			return nil, err
		}
		o.ContextTimeoutEnabled = true
		connect = func() (redis.UniversalClient, time.Duration) {
			c := redis.NewClient(o)
			return c, patience(c.Options().DialTimeout, c.Options().ReadTimeout)
		}
	}
	return func(ctx context.Context, o redislock.Options, opts []locker.Option) (locker.Locker, error) {
		client, limit := connect()
		l, err := redislock.New(client, &o, opts...)
		if err == nil {
			err = answers(ctx, client, limit)
		}
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		return &redisLocker{l, client}, nil
	}, nil
}

// patience is how long a server may take to be reached, and then to answer.
func patience(dial, read time.Duration) time.Duration {
	const unlimited = 10 * time.Second // by go-redis: it is no time to wait for at the start of a program
	if dial <= 0 || read <= 0 {
		return unlimited
	}
	return dial + read
}

// answers returns nil if Redis answers, an error that matches errSilent if it does not,
// and another one if it refuses.
func answers(ctx context.Context, client redis.UniversalClient, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
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
