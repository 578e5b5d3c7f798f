package redislock

import (
	"fmt"
	"io"
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

// The end of a session ends the renewal of its keys.
func TestSessionThatEndsWhileKeysAreRenewed(t *testing.T) {
	for _, protocol := range []int{3, 2} {
		s := redistest.Start(t)
		o := redistest.Client(t, s.Addr, nil).Options()
		o.Protocol = protocol
		for range 20 {
			d := newSingle(o, Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
			l := locker.NewBase(d)
			d.log = l.Logger()
			for i := range 20 {
				if _, err := l.Acquire(t.Context(), fmt.Sprint("n", i)); err != nil {
					t.Fatal(err)
				}
			}
			session := d.only.current("")
			session.renewKeys()
			session.end(io.EOF)
			closed := make(chan error, 1)
			go func() { closed <- l.Close() }()
			select {
			case err := <-closed:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("RESP%d: Close does not return", protocol)
			}
		}
	}
}

// A renewal that comes when the lock is another's names nobody else as its holder.
func TestRenewalThatComesLate(t *testing.T) {
	c := redistest.Start(t).Client(nil)
	ctx := t.Context()
	hint := func(sid string, token int) string { return fmt.Sprintf("%s %d run 0 7 5 1000000 4 host", sid, token) }
	subscribeTo(t, c, "n", "n:h:"+sessionA)
	subscribeTo(t, c, "n:h:"+sessionB)
	for what, tt := range map[string]struct {
		before any // in the holder key
		sid    string
	}{
		"nobody is named":           {nil, sessionA},
		"one that has left":         {hint(sessionC, 8), sessionA},
		"it claims the lock":        {hint(sessionA, 0), sessionA},
		"it holds the lock":         {hint(sessionA, 8), sessionA},
		"another holds it":          {hint(sessionB, 8), sessionB},
		"another claims it as well": {hint(sessionB, 0), sessionB},
	} {
		c.FlushAll(ctx)
		if tt.before != nil {
			c.Set(ctx, "n:locker:holder", tt.before, 0)
		}
		keys := []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby", "n-fence"}
		if err := c.Eval(ctx, renewScript.plain().text, keys, "n", sessionA, "9", "41", "run", "5 1000000 4 host", expiry, "12").Err(); err != nil {
			t.Fatal(err)
		}
		if got := parseHint(c.Get(ctx, "n:locker:holder").Val()); got.sid != tt.sid || tt.sid == sessionA && got.token == "0" {
			t.Errorf("%s: then it is %+v", what, got)
		}
		if fence, counter := c.Get(ctx, "n:locker:fence").Val(), c.Get(ctx, "n-fence").Val(); fence != "41" || counter != "41" {
			t.Errorf("%s: the last tokens are %s and %s", what, fence, counter)
		}
	}
}
