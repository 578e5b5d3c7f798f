package main

import (
	"context"
	"errors"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

// noticeWorkloads are about a holder whose connection is cut: how long it works on
// without the lock.
func noticeWorkloads() []workload {
	return []workload{{
		name:       "redis/notice of loss",
		about:      "CLIENT KILL cuts the connection of a holder: how long until its Done is closed, that is, for how long it works without the lock. Of this library alone: the peers notice when they renew the lock, if they do.",
		contenders: func() []contender { return redisContenders()[:1] },
		measure:    notice,
	}}
}

func notice(ctx context.Context, l *lab, _ contender, p places) (_ *measured, err error) {
	c := newRedisClient(p)
	defer func() { err = errors.Join(err, c.Close()) }()
	locks, err := redislock.New(c, nil, locker.WithTimeout(locker.NoTimeout))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, locks.Close()) }()
	m := &measured{}
	for range pick(l, 20, 3) {
		lock, err := locks.Acquire(ctx, lockName)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		// The session of the Locker is the only connection that has subscribed.
		killed, err := l.redis.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Int()
		if err != nil {
			return nil, err
		}
		if killed == 0 {
			return nil, errors.New("no connection was cut")
		}
		select {
		case <-lock.Done():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		m.took("notice", time.Since(start))
		if !errors.Is(lock.Err(), locker.ErrLost) {
			return nil, lock.Err()
		}
	}
	return m, nil
}
