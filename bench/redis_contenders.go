package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	bsm "github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

func redisContenders() []contender {
	return []contender{
		{
			name: ours, place: inRedis, open: redislockWith(nil),
			settings: "github.com/golocker/locker/redislock: the defaults of go-redis and of redislock, WithTimeout(NoTimeout)",
		},
		{
			name: "bsm/redislock", place: inRedis, open: openBsm, poll: bsmBackoff,
			settings: fmt.Sprintf("github.com/bsm/redislock: TTL %v as in its README, LinearBackoff(%v) as in its example of a retry; a lock that is held for long is renewed with Refresh every %v", bsmTTL, bsmBackoff, bsmTTL/2),
		},
		{
			name: "redsync", place: inRedis, open: openRedsync, poll: redsyncDelay, renews: redsyncExpiry / 2,
			settings: fmt.Sprintf("github.com/go-redsync/redsync/v4: its defaults (expiry %v, 32 tries, 50 to 250 ms between them), over go-redis; asked again when it gives up; a lock that is held for long is renewed with Extend every %v", redsyncExpiry, redsyncExpiry/2),
		},
		{
			name: "rueidislock", place: inRedis, renews: rueidislockRenews,
			open:     rueidislockWith(rueidislock.LockerOption{KeyMajority: 1, NoLoopTracking: true}),
			settings: "github.com/redis/rueidis/rueidislock: KeyMajority 1 and NoLoopTracking as in its README; TTL 5 s, which it renews itself every 2.5 s",
		},
		{
			name: "rueidislock, defaults", place: inRedis, renews: rueidislockRenews,
			open:     rueidislockWith(rueidislock.LockerOption{}),
			settings: "github.com/redis/rueidis/rueidislock: its defaults, KeyMajority 2 (of 3 keys, here all in one Redis)",
		},
		{
			name: "by hand", place: inRedis, open: openByHand, poll: byHandPoll,
			settings: fmt.Sprintf("go-redis: SET NX with a TTL of %v, every %v until it succeeds, and a script that deletes the key if it is still ours; never renewed", byHandTTL, byHandPoll),
		},
	}
}

func newRedisClient(p places) *redis.Client { return redis.NewClient(&redis.Options{Addr: p.Redis}) }

// lockerClient is a client of this library, for any backend.
type lockerClient struct {
	locker.Locker
	alsoClose func() error // nil: nothing
}

func (c *lockerClient) acquire(ctx context.Context, name string) (func() error, error) {
	lock, err := c.Acquire(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { return lock.Release(ctx) }, nil
}

func (c *lockerClient) close() error {
	err := c.Close()
	if c.alsoClose != nil {
		err = errors.Join(err, c.alsoClose())
	}
	return err
}

func redislockWith(o *redislock.Options) func(context.Context, places) (client, error) {
	return func(_ context.Context, p places) (client, error) {
		c := newRedisClient(p)
		l, err := redislock.New(c, o, locker.WithTimeout(locker.NoTimeout))
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return &lockerClient{l, c.Close}, nil
	}
}

const (
	bsmTTL     = 100 * time.Millisecond
	bsmBackoff = 100 * time.Millisecond
)

type bsmClient struct {
	redis *redis.Client
	*bsm.Client
}

func openBsm(_ context.Context, p places) (client, error) {
	c := newRedisClient(p)
	return &bsmClient{c, bsm.New(c)}, nil
}

func (c *bsmClient) obtain(ctx context.Context, name string) (*bsm.Lock, error) {
	// Obtain gives up after the TTL where ctx has no deadline.
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	return c.Obtain(ctx, name, bsmTTL, &bsm.Options{RetryStrategy: bsm.LinearBackoff(bsmBackoff)})
}

func (c *bsmClient) acquire(ctx context.Context, name string) (func() error, error) {
	lock, err := c.obtain(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { return lock.Release(ctx) }, nil
}

func (c *bsmClient) hold(ctx context.Context, name string) (func() error, error) {
	lock, err := c.obtain(ctx, name)
	if err != nil {
		return nil, err
	}
	renew := func(ctx context.Context) error { return lock.Refresh(ctx, bsmTTL, nil) }
	return renewing(ctx, bsmTTL/2, renew, func() error { return lock.Release(ctx) }), nil
}

func (c *bsmClient) close() error { return c.redis.Close() }

const (
	redsyncExpiry = 8 * time.Second        // its default
	redsyncDelay  = 150 * time.Millisecond // the mean of its default
)

type redsyncClient struct {
	redis *redis.Client
	*redsync.Redsync
}

func openRedsync(_ context.Context, p places) (client, error) {
	c := newRedisClient(p)
	return &redsyncClient{c, redsync.New(goredis.NewPool(c))}, nil
}

func (c *redsyncClient) lock(ctx context.Context, name string) (*redsync.Mutex, error) {
	for {
		m := c.NewMutex(name)
		err := m.LockContext(ctx)
		if err == nil {
			return m, nil
		}
		var taken *redsync.ErrTaken
		if gaveUp := errors.Is(err, redsync.ErrFailed) || errors.As(err, &taken); !gaveUp || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (c *redsyncClient) acquire(ctx context.Context, name string) (func() error, error) {
	m, err := c.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { return unlock(ctx, m) }, nil
}

func (c *redsyncClient) hold(ctx context.Context, name string) (func() error, error) {
	m, err := c.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	renew := func(ctx context.Context) error { _, err := m.ExtendContext(ctx); return err }
	return renewing(ctx, redsyncExpiry/2, renew, func() error { return unlock(ctx, m) }), nil
}

func unlock(ctx context.Context, m *redsync.Mutex) error {
	_, err := m.UnlockContext(ctx)
	return err
}

func (c *redsyncClient) close() error { return c.redis.Close() }

const rueidislockRenews = 2500 * time.Millisecond // its default

type rueidislockClient struct{ rueidislock.Locker }

func rueidislockWith(o rueidislock.LockerOption) func(context.Context, places) (client, error) {
	return func(_ context.Context, p places) (client, error) {
		o.ClientOption = rueidis.ClientOption{InitAddress: []string{p.Redis}}
		l, err := rueidislock.NewLocker(o)
		if err != nil {
			return nil, err
		}
		return rueidislockClient{l}, nil
	}
}

func (c rueidislockClient) acquire(ctx context.Context, name string) (func() error, error) {
	_, cancel, err := c.WithContext(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { cancel(); return nil }, nil
}

func (c rueidislockClient) close() error {
	c.Close()
	return nil
}

const (
	byHandTTL  = 5 * time.Second
	byHandPoll = 100 * time.Millisecond
)

type byHandClient struct {
	*redis.Client
	unlock *redis.Script
}

func openByHand(_ context.Context, p places) (client, error) {
	const unlock = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
	return &byHandClient{newRedisClient(p), redis.NewScript(unlock)}, nil
}

func (c *byHandClient) acquire(ctx context.Context, name string) (func() error, error) {
	token := rand.Text()
	for {
		ok, err := c.SetNX(ctx, name, token, byHandTTL).Result()
		if err != nil {
			return nil, err
		}
		if ok {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(byHandPoll):
		}
	}
	return func() error { return c.unlock.Run(ctx, c, []string{name}, token).Err() }, nil
}

func (c *byHandClient) close() error { return c.Close() }
