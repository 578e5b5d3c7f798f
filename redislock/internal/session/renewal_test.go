package session

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
)

// The keys of a lock that is held, or waited for, are renewed before they expire.
func TestKeysInUseAreRenewed(t *testing.T) {
	t.Parallel()
	for _, version := range []int{3, 2} {
		s := redistest.Start(t)
		client := redistest.Client(t, s.Addr, nil)
		o := client.Options()
		o.Protocol = version
		open := func() (*locker.Base, *driver) {
			return openWith(t, o, calm, locker.WithCheckInterval(20*time.Millisecond))
		}
		lasts := func(name, key string) {
			t.Helper()
			for start := time.Now(); s.Do("TTL", name+key).(int64) < 3000; time.Sleep(time.Millisecond) {
				if time.Since(start) > 30*time.Second {
					t.Fatalf("RESP%d: %s expires in %v s", version, name+key, s.Do("TTL", name+key))
				}
			}
		}
		expire := func(name string) {
			for _, key := range []string{protocol.KeyFence, protocol.KeyHolder, protocol.KeyQueue, protocol.KeyStandby} {
				s.Do("EXPIRE", name+key, 1000)
			}
		}
		locks, holder := open()
		others, _ := open()
		for _, name := range []string{"held", "waited for"} {
			if _, err := locks.Acquire(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		go func() { _, _ = others.Acquire(t.Context(), "waited for", locker.WithTimeout(locker.NoTimeout)) }()
		for s.Do("LLEN", "waited for"+protocol.KeyQueue) != int64(1) {
			time.Sleep(time.Millisecond)
		}
		expire("waited for")
		lasts("waited for", protocol.KeyQueue) // by the one who waits, when it looks
		expire("held")
		expire("waited for")
		r := renewal{}
		session, now := holder.session(t, ""), time.Now()
		r.look(session, now)
		if least := now.Add(renewEvery / 2); r.due.Before(least) || r.due.After(now.Add(renewEvery)) {
			t.Errorf("it is due after %v", r.due.Sub(now))
		}
		r.look(session, now.Add(renewEvery))
		for _, name := range []string{"held", "waited for"} {
			lasts(name, protocol.KeyFence)
			lasts(name, protocol.KeyHolder)
		}
	}
}

// The end of a session ends the renewal of its keys.
func TestSessionThatEndsWhileKeysAreRenewed(t *testing.T) {
	for _, version := range []int{3, 2} {
		s := redistest.Start(t)
		o := redistest.Client(t, s.Addr, nil).Options()
		o.Protocol = version
		for range 20 {
			l, d := openWith(t, o, calm)
			for i := range 20 {
				if _, err := l.Acquire(t.Context(), fmt.Sprint("n", i)); err != nil {
					t.Fatal(err)
				}
			}
			session := d.session(t, "")
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
				t.Fatalf("RESP%d: Close does not return", version)
			}
		}
	}
}
