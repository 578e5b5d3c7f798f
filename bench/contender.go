package main

import (
	"context"
	"slices"
	"strings"
	"time"
)

// A contender is a way to lock: this library, or a peer, as its own documentation
// uses it.
type contender struct {
	name     string
	settings string // how it is used here, for the report
	place    place

	// poll is how long one that waits leaves the lock alone between two looks; 0: it
	// is woken. A hand-off happens at a random moment of it.
	poll time.Duration

	// ttl is how long its lock lasts after a crash, if more than a few seconds.
	ttl time.Duration

	// renews is how often it renews a lock that is held; 0: often, or never.
	renews time.Duration

	// open returns a client, as one process would have it. nil: it is a memory.
	open func(ctx context.Context, p places) (client, error)

	// memory returns locks in memory, with these names.
	memory func(names []string) memory
}

// lock is the name of a lock that no other contender uses.
func (c contender) lock() string {
	return lockName + "-" + strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(c.name)
}

// ours is the name of this library, which the ratios are to.
const ours = "locker"

// A client acquires locks.
type client interface {
	// acquire waits for a lock until ctx ends. release gives it back.
	acquire(ctx context.Context, name string) (release func() error, err error)
	close() error
}

// A holder is a client whose locks last no longer than their TTL, unless somebody
// renews them. hold is acquire for longer than that.
type holder interface {
	hold(ctx context.Context, name string) (release func() error, err error)
}

func hold(ctx context.Context, c client, name string) (release func() error, err error) {
	if h, ok := c.(holder); ok {
		return h.hold(ctx, name)
	}
	return c.acquire(ctx, name)
}

// renewing calls renew every interval until the release.
func renewing(ctx context.Context, interval time.Duration, renew func(context.Context) error, release func() error) func() error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(interval):
				if renew(ctx) != nil {
					return // lost: the release says so
				}
			}
		}
	}()
	return func() error {
		cancel()
		<-ended
		return release()
	}
}

// A memory is a set of locks in memory. pair acquires a lock and releases it.
type memory interface {
	pair(name string) error
}

// A place is what a contender needs.
type place string

const (
	inRedis  place = "redis"
	inEtcd   place = "etcd"
	inFiles  place = "files"
	inMemory place = "memory"
)

// places are where the locks of a run are.
type places struct {
	Redis string // an address; empty: there is no redis-server
	Etcd  string // an address; empty: there is no etcd
	Dir   string
}

func (p places) has(where place) bool {
	switch where {
	case inRedis:
		return p.Redis != ""
	case inEtcd:
		return p.Etcd != ""
	}
	return true
}

func contenders() []contender {
	return slices.Concat(redisContenders(), etcdContenders(), fileContenders(), memoryContenders())
}

// of returns the contenders that are in one of the places.
func of(where ...place) []contender {
	return slices.DeleteFunc(contenders(), func(c contender) bool { return !slices.Contains(where, c.place) })
}
