package redislock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// BenchmarkPair acquires and releases a free lock; "by hand" is what people write
// with go-redis: SET NX, and a script that deletes the key if it is still theirs.
func BenchmarkPair(b *testing.B) {
	s := redistest.Start(b)
	for _, protocol := range []int{3, 2} {
		b.Run(map[int]string{3: "RESP3", 2: "RESP2"}[protocol], func(b *testing.B) {
			l := open(b, s.Addr, protocol)
			for b.Loop() {
				lock, err := l.Acquire(b.Context(), "n")
				if err != nil {
					b.Fatal(err)
				}
				if err := lock.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("by hand", func(b *testing.B) {
		c := s.Client(nil)
		unlock := redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)
		for b.Loop() {
			if ok, err := c.SetNX(b.Context(), "by-hand", "token", 10*time.Second).Result(); err != nil || !ok {
				b.Fatal(ok, err)
			}
			if err := unlock.Run(b.Context(), c, []string{"by-hand"}, "token").Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHerd has 64 clients acquire one lock ten times each and hold it for a
// millisecond.
func BenchmarkHerd(b *testing.B) {
	s := redistest.Start(b)
	const clients, rounds = 64, 10
	lockers := make([]*redislock.Locker, clients)
	for i := range lockers {
		lockers[i] = open(b, s.Addr, 3, locker.WithTimeout(time.Minute))
		lock, err := lockers[i].Acquire(b.Context(), "warm-up")
		if err != nil {
			b.Fatal(err)
		}
		if err := lock.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var longest time.Duration
	inversions := 0
	for b.Loop() {
		var mu sync.Mutex
		var starts []time.Time // in the order in which they were served
		var all sync.WaitGroup
		for _, l := range lockers {
			all.Go(func() {
				for range rounds {
					start := time.Now()
					lock, err := l.Acquire(b.Context(), "n")
					if err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					longest = max(longest, time.Since(start))
					starts = append(starts, start)
					mu.Unlock()
					time.Sleep(time.Millisecond)
					if err := lock.Release(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		for i := 1; i < len(starts); i++ {
			if starts[i].Before(starts[i-1].Add(-time.Millisecond)) {
				inversions++
			}
		}
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
	b.ReportMetric(float64(inversions)/float64(b.N*clients*rounds)*100, "inversions-%")
}

// BenchmarkNoticeOfLoss measures from CLIENT KILL until Done is closed, and until
// the next one holds the lock, which settles for 10 ms.
func BenchmarkNoticeOfLoss(b *testing.B) {
	s := redistest.Start(b)
	l, other := open(b, s.Addr, 3), open(b, s.Addr, 3, locker.WithTimeout(bound))
	killer := s.Client(nil)
	var notice, longest, next time.Duration
	for b.Loop() {
		lock, err := l.Acquire(b.Context(), "n")
		if err != nil {
			b.Fatal(err)
		}
		acquired := make(chan time.Time, 1)
		go func() {
			lock, err := other.Acquire(b.Context(), "n")
			now := time.Now()
			if err == nil {
				err = lock.Release(b.Context())
			}
			if err != nil {
				b.Error(err)
			}
			acquired <- now
		}()
		done := lock.Done()
		for killer.LLen(b.Context(), "n:locker:queue").Val() == 0 {
			time.Sleep(time.Millisecond)
		}
		id := fields(killer.Get(b.Context(), "n:locker:holder").Val())[5]
		start := time.Now()
		if err := killer.Do(b.Context(), "CLIENT", "KILL", "ID", id).Err(); err != nil {
			b.Fatal(err)
		}
		<-done
		d := time.Since(start)
		notice += d
		longest = max(longest, d)
		next += (<-acquired).Sub(start)
	}
	n := float64(b.N)
	b.ReportMetric(float64(notice.Microseconds())/n, "notice-µs")
	b.ReportMetric(float64(longest.Microseconds()), "longest-notice-µs")
	b.ReportMetric(float64(next.Microseconds())/n/1000, "next-ms")
}
