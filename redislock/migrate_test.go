package redislock_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// While a slot is on its way to another shard, Redis from 7.4 on does not let a channel in
// it be left. A lock that is released then is free all the same: the session ends, and
// those who hold its other locks learn of it first.
func TestReleaseWhileItsSlotIsOnItsWay(t *testing.T) {
	t.Parallel()
	long(t)
	c := redistest.StartCluster(t)
	refuses := false
	for _, protocol := range []int{3, 2} {
		l := openWith(t, c.Client(func(o *redis.ClusterOptions) { o.Protocol = protocol }), calm)
		from, slot := c.Primary("n")
		to, _ := c.Primary(elsewhere(t, c, from))
		name := inShard(t, c, from, slot)
		kept, held := acquire(t, l, name), acquire(t, l, "n")
		c.BeginMove(slot, from, to)
		on := func(channel string) bool {
			return from.Do("PUBSUB", "SHARDNUMSUB", channel).([]any)[1] != int64(0)
		}
		release(t, held)
		poll(t, "the channel is left", func() bool { return !on("{n}") })
		if refuses = strings.HasPrefix(from.Raw().Ask("SUNSUBSCRIBE", "{n}"), "-ASK "); refuses {
			poll(t, "the session has ended", func() bool { return !on("{" + name + "}") })
			if err := kept.Err(); !errors.Is(err, locker.ErrLost) {
				t.Errorf("RESP%d: the Err of a lock that the session held: %v, want ErrLost", protocol, err)
			}
		} else {
			release(t, kept)
		}
		for _, s := range []*redistest.Server{from, to} {
			s.Do("CLUSTER", "SETSLOT", slot, "STABLE")
		}
		release(t, acquire(t, l, "n"))
	}
	if !refuses {
		t.Skip("this server lets a channel be left at any time: only Redis from 7.4 on does not")
	}
}
