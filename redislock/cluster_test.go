package redislock_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// When a slot moves to another shard while its lock is held, the holder is told, the
// locks in other slots of the shard are kept, and those who wait go on.
func TestSlotMovesWhileItsLockIsHeld(t *testing.T) {
	t.Parallel()
	long(t)
	c := redistest.StartCluster(t)
	for _, protocol := range []int{3, 2} {
		client := func(o *redis.ClusterOptions) { o.Protocol = protocol }
		holder, other := openWith(t, c.Client(client), nil), openWith(t, c.Client(client), nil)
		for i, name := range []string{"n", "{user}:n"} {
			from, slot := c.Primary(name)
			to, _ := c.Primary(elsewhere(t, c, from))
			// A lock in another slot of the same shard.
			kept := acquire(t, holder, inShard(t, c, from, slot))
			held := acquire(t, holder, name)
			ctx := watched{Context: t.Context(), waits: make(chan struct{})}
			acquired := make(chan locker.Lock, 1)
			go func() {
				lock, err := other.Acquire(&ctx, name, locker.WithTimeout(bound))
				if err != nil {
					t.Error(err)
				} else if held.Err() == nil {
					t.Error("the lock is granted while the Err of its holder is nil")
				}
				acquired <- lock
			}()
			await(t, "the Acquire to wait", ctx.waits)
			if _, err := other.Acquire(t.Context(), name, noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Fatal(err)
			}
			c.Move(slot, from, to)
			await(t, "Done", held.Done())
			if err := held.Err(); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Err = %v", err)
			}
			lock := <-acquired
			if lock == nil {
				t.Fatal("not acquired")
			}
			if lock.Token() <= held.Token() {
				t.Errorf("token %d after %d", lock.Token(), held.Token())
			}
			release(t, lock)
			release(t, acquire(t, holder, name)) // at its new place
			if err := kept.Err(); err != nil {
				t.Errorf("round %d: the lock in another slot: %v", i, err)
			}
			release(t, kept)
		}
	}
}

// elsewhere returns a name in another shard.
func elsewhere(t *testing.T, c *redistest.Cluster, than *redistest.Server) string {
	t.Helper()
	for i := range 1000 {
		name := fmt.Sprint("elsewhere-", i)
		if s, _ := c.Primary(name); s != than {
			return name
		}
	}
	t.Fatal("all names are in one shard")
	return ""
}

// inShard returns a name in the same shard that is in another slot.
func inShard(t *testing.T, c *redistest.Cluster, shard *redistest.Server, not int) string {
	t.Helper()
	for i := range 1000 {
		name := fmt.Sprint("beside-", i)
		if s, slot := c.Primary(name); s == shard && slot != not {
			return name
		}
	}
	t.Fatal("no name is in the shard")
	return ""
}

// Over a failover of a shard, planned or by the death of its primary, nobody holds
// a lock on both sides, and the locks of other shards are kept.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	long(t)
	for _, tt := range []struct {
		name     string
		failOver func(c *redistest.Cluster, primary *redistest.Server)
	}{
		{"planned", func(c *redistest.Cluster, primary *redistest.Server) { c.FailOver(primary) }},
		{"primary killed", func(_ *redistest.Cluster, primary *redistest.Server) { primary.Kill() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // it is waiting, most of the time
			c := redistest.StartCluster(t)
			var lockers []*redislock.Locker
			var logs syncBuffer
			for range 2 {
				lockers = append(lockers, openWith(t, c.Client(nil), nil, locker.WithTimeout(2*bound), locker.WithLogger(slog.New(slog.NewTextHandler(&logs, nil)))))
			}
			var last uint64
			for i := range *failovers {
				primary, _ := c.Primary("n")
				holder, other := lockers[i%2], lockers[(i+1)%2]
				held, kept := acquire(t, holder, "n"), acquire(t, holder, elsewhere(t, c, primary))
				if held.Token() <= last {
					t.Errorf("token %d after %d", held.Token(), last)
				}
				acquired := make(chan locker.Lock, 1)
				ctx := watched{Context: t.Context(), waits: make(chan struct{})}
				go func() {
					lock, err := other.Acquire(&ctx, "n")
					if err != nil {
						t.Error(err)
					} else if held.Err() == nil {
						t.Error("the lock is granted at the new primary while the Err of its holder is nil")
					}
					acquired <- lock
				}()
				await(t, "the Acquire to wait", ctx.waits)
				if _, err := other.Acquire(t.Context(), "n", noWait); !errors.Is(err, locker.ErrAlreadyLocked) {
					t.Fatal(err)
				}
				replicated(t, primary.Addr, "{n}")
				tt.failOver(c, primary)
				poll(t, "another primary", func() bool { s, _ := c.Primary("n"); return s != primary })
				announced := time.Now()
				await(t, "Done", held.Done())
				lock := <-acquired
				if lock == nil {
					t.Fatal("not acquired")
				}
				t.Logf("acquired %v after the new primary was known", time.Since(announced))
				if last = lock.Token(); last <= held.Token() {
					t.Errorf("token %d after %d", last, held.Token())
				}
				release(t, lock)
				if err := kept.Err(); err != nil {
					t.Errorf("the lock in another shard: %v", err)
				}
				release(t, kept)
				if tt.name != "planned" {
					primary.Restart()
				}
				c.AwaitReplicas()
			}
			// Nobody hangs here: a place that nobody takes is one that was left behind.
			if strings.Contains(logs.String(), "put out of the queue") {
				t.Errorf("the log: %s", logs.String())
			}
		})
	}
}
