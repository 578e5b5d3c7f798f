package redislock_test

import (
	"errors"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

var failovers = flag.Int("failovers", 1, "how many failovers each test about them makes")

// Over a failover, planned or by the death of the primary, nobody holds the lock on
// both sides: the holder is told, and those who wait go on at the new primary.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	long(t)
	for _, tt := range []struct {
		name     string
		failOver func(f *redistest.Failover, primary string)
	}{
		{"planned", func(f *redistest.Failover, _ string) { f.FailOver() }},
		{"primary killed", func(f *redistest.Failover, primary string) { f.At(primary).Kill() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // it is waiting, most of the time
			f := redistest.StartFailover(t)
			var lockers []*redislock.Locker
			for range 3 {
				lockers = append(lockers, openWith(t, f.Client(nil), nil, locker.WithTimeout(2*bound)))
			}
			var last uint64
			for i := range *failovers {
				primary := f.Primary()
				held := acquire(t, lockers[i%3], "n", locker.WithTimeout(2*bound))
				if held.Token() <= last {
					t.Errorf("token %d after %d", held.Token(), last)
				}
				last = held.Token()
				var mu sync.Mutex
				var all sync.WaitGroup
				for j := range 2 {
					ctx := watched{Context: t.Context(), waits: make(chan struct{})}
					all.Go(func() {
						lock, err := lockers[(i+1+j)%3].Acquire(&ctx, "n")
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						if err := held.Err(); !errors.Is(err, locker.ErrLost) {
							t.Errorf("the lock is granted at the new primary while the Err of its holder is %v", err)
						}
						if lock.Token() <= last {
							t.Errorf("token %d after %d", lock.Token(), last)
						}
						last = lock.Token()
						if err := lock.Release(t.Context()); err != nil {
							t.Error(err)
						}
					})
					await(t, "the Acquire to wait", ctx.waits)
				}
				queuedAt(t, primary, "n", 2)
				replicated(t, primary, "all before this")
				tt.failOver(f, primary)
				f.AwaitPrimary(primary)
				announced := time.Now()
				await(t, "Done", held.Done())
				all.Wait()
				t.Logf("the waiters had their turns %v after the new primary was known", time.Since(announced))
				if tt.name != "planned" {
					f.At(primary).Restart()
				}
				for start := time.Now(); !f.Replicates(); time.Sleep(20 * time.Millisecond) {
					if time.Since(start) > 2*bound {
						t.Fatal("the former primary does not become a replica")
					}
				}
			}
		})
	}
}

// long skips a test that starts many servers, and waits for them, with -short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
}

// queuedAt waits until n sessions wait for a lock at the server at addr.
func queuedAt(t *testing.T, addr, name string, n int64) {
	t.Helper()
	c := redistest.Client(t, addr, nil)
	poll(t, "waiters in the queue", func() bool { return c.LLen(t.Context(), name+":locker:queue").Val() == n })
}

// replicated waits until the replica has all that its primary has: what it does not
// have is lost with the primary.
func replicated(t *testing.T, addr, key string) {
	t.Helper()
	c := redistest.Client(t, addr, nil).Conn()
	defer c.Close()
	if err := c.Set(t.Context(), key, "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the replica to have it", func() bool { return c.Do(t.Context(), "WAIT", 1, 1000).Val() == int64(1) })
}
