package session

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// A burst of Acquires of different names does not starve the session's own heartbeats, as few
// commands are before them: no lock is lost, and each Acquire has its turn, also where the
// server does not know the scripts any more.
func TestBurst(t *testing.T) {
	const names = 3000
	for _, version := range []int{3, 2} {
		t.Run(fmt.Sprint("RESP", version), func(t *testing.T) {
			s := redistest.Start(t)
			user := s.Client(func(o *redis.Options) { o.Protocol = version }).Options()
			l, d := openWith(t, user, calm, locker.WithTimeout(locker.NoTimeout))
			first, err := l.Acquire(t.Context(), "first")
			if err != nil {
				t.Fatal(err)
			}
			s.Do("SCRIPT", "FLUSH")
			locks := make([]locker.Lock, names)
			var all sync.WaitGroup
			for i := range locks {
				all.Go(func() {
					var err error
					if locks[i], err = l.Acquire(t.Context(), fmt.Sprint("n", i)); err != nil {
						t.Error(err)
					}
				})
			}
			acquired := make(chan struct{})
			go func() {
				all.Wait()
				close(acquired)
			}()
			most, session := 0, d.session(t, "first")
			for waiting := true; waiting; {
				most = max(most, session.conn.Unanswered())
				select {
				case <-acquired:
					waiting = false
				case <-time.After(100 * time.Microsecond):
				}
			}
			if most > 2*maxScripts+10 { // a claim is two commands
				t.Errorf("%d commands were on their way at once", most)
			}
			if err := first.Err(); err != nil {
				t.Fatal("the lock that was held before:", err)
			}
			for _, lock := range locks {
				if lock == nil {
					continue
				}
				if err := lock.Err(); err != nil {
					t.Fatal(err)
				}
				all.Go(func() {
					if err := lock.Release(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		})
	}
}
