package redislock

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// Where it was not allowed to disconnect a holder that hangs, that is tried again a minute
// later: the permission may have been granted.
func TestKillPermittedLater(t *testing.T) {
	t.Parallel()
	redistest.RequireVersion(t, 7, 0, "it can deny no subcommand")
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "weak", "on", "nopass", "~*", "&*", "+@all", "-client|kill")
	hung := s.Raw()
	hung.Do("CLIENT", "SETNAME", "n-lock")
	hung.Do("SUBSCRIBE", "n")
	o := Options{UnavailableTimeout: 100 * time.Millisecond, HealthCheckInterval: time.Minute}
	d := newSingle(s.Client(func(o *redis.Options) { o.Username, o.Password = "weak", "x" }).Options(), o)
	l := locker.NewBase(d, locker.WithCheckInterval(20*time.Millisecond), locker.WithTimeout(30*time.Second))
	d.log = l.Logger()
	defer l.Close()
	acquired := make(chan error, 1)
	go func() {
		lock, err := l.Acquire(t.Context(), "n")
		if err == nil {
			err = lock.Release(t.Context())
		}
		acquired <- err
	}()
	for start := time.Now(); d.mayKill(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("it was not tried")
		}
	}
	s.Do("ACL", "SETUSER", "weak", "+client|kill")
	if d.mayKill() {
		t.Error("it is tried again at once")
	}
	d.cannotKill.Add(-askAgain.Nanoseconds())
	if err := <-acquired; errors.Is(err, locker.ErrAlreadyLocked) || err != nil {
		t.Fatal(err)
	}
	if d.cannotKill.Load() != 0 {
		t.Error("it counts as denied")
	}
}
