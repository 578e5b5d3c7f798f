package redislock

import (
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// The keys of a lock that is held, or waited for, are renewed before they expire.
func TestKeysInUseAreRenewed(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{3, 2} {
		s := redistest.Start(t)
		client := redistest.Client(t, s.Addr, nil)
		o := client.Options()
		o.Protocol = protocol
		open := func() (*driver, *locker.Base) {
			d := newSingle(o, Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
			l := locker.NewBase(d, locker.WithCheckInterval(20*time.Millisecond))
			d.log = l.Logger()
			t.Cleanup(func() { _ = l.Close() })
			return d, l
		}
		lasts := func(name, key string) {
			t.Helper()
			for start := time.Now(); s.Do("TTL", name+key).(int64) < 3000; time.Sleep(time.Millisecond) {
				if time.Since(start) > 30*time.Second {
					t.Fatalf("RESP%d: %s expires in %v s", protocol, name+key, s.Do("TTL", name+key))
				}
			}
		}
		expire := func(name string) {
			for _, key := range []string{keyFence, keyHolder, keyQueue, keyStandby} {
				s.Do("EXPIRE", name+key, 1000)
			}
		}
		holder, locks := open()
		_, others := open()
		for _, name := range []string{"held", "waited for"} {
			if _, err := locks.Acquire(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		go func() { _, _ = others.Acquire(t.Context(), "waited for", locker.WithTimeout(locker.NoTimeout)) }()
		for s.Do("LLEN", "waited for"+keyQueue) != int64(1) {
			time.Sleep(time.Millisecond)
		}
		expire("waited for")
		lasts("waited for", keyQueue) // by the one who waits, when it looks
		expire("held")
		expire("waited for")
		r := renewal{}
		session, now := holder.only.current(""), time.Now()
		r.look(session, now)
		if least := now.Add(renewEvery / 2); r.due.Before(least) || r.due.After(now.Add(renewEvery)) {
			t.Errorf("it is due after %v", r.due.Sub(now))
		}
		r.look(session, now.Add(renewEvery))
		for _, name := range []string{"held", "waited for"} {
			lasts(name, keyFence)
			lasts(name, keyHolder)
		}
	}
}
