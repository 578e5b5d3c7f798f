package redislock

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// With RESP2 the answers to a claim's SUBSCRIBE and script come in any order. A
// SUBSCRIBE that the server has refused is the reason of the failure also when the
// script had found nobody on the channel before; and other locks are kept.
func TestSubscribeRefusedAfterTheScript(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "resetchannels", "&n*", "&locker:session:*", "+@all")
	client := s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = 2, "worker", "secret" })
	d := newSingle(client.Options(), Options{UnavailableTimeout: time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Second})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
	held, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	a := &locker.Attempt{Name: "other", CheckInterval: time.Second}
	m, err := d.only.current("").member(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	c := m.newClaim(a)
	c.answers <- answer{text: "notyet"}
	c.send()
	<-c.subscribed
	_, err = c.settle(t.Context())
	var refused serverError
	if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("the claim: %v, want what the server says", err)
	}
	if err := held.Err(); err != nil {
		t.Errorf("the other lock: %v", err)
	}
}

// portalocker 4 elects itself where all others answer that they only claim the lock.
// So the ping that comes right after the grant is answered as by a holder, and, where
// the grant may come after the ping, as with RESP2, so is one before. (The test makes
// no hold of the grant.)
func TestPingAfterTheGrant(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{3, 2} {
		s := redistest.Start(t)
		client := s.Client(func(o *redis.Options) { o.Protocol = protocol })
		d := newSingle(client.Options(), Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
		l := locker.NewBase(d)
		d.log = l.Logger()
		defer l.Close()
		if _, err := l.Acquire(t.Context(), "other"); err != nil {
			t.Fatal(err)
		}
		a := &locker.Attempt{Name: "n", CheckInterval: time.Second}
		session := d.only.current("n")
		m, err := session.member(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		mode := func(channel string) string {
			session.mu.Lock()
			defer session.mu.Unlock()
			var p pong
			answer := m.pingedWith(pingText(channel))
			if err := json.Unmarshal([]byte(answer.payload), &p); err != nil {
				t.Fatal(err)
			}
			return p.Mode
		}
		c := m.newClaim(a)
		if got := mode("n-0.5"); got != "pending" {
			t.Errorf("RESP%d: before the claim: %q", protocol, got)
		}
		session.mu.Lock() // what the server says is not taken in yet
		c.unsure = !session.fast
		session.mu.Unlock()
		if got, want := mode("n-0.5"), map[int]string{3: "pending", 2: "exclusive"}[protocol]; got != want {
			t.Errorf("RESP%d: when the script may have run: %q, want %q", protocol, got, want)
		}
		if got := mode("n:h:" + strings.Repeat("a", 32)); got != "pending" {
			t.Errorf("RESP%d: to one of this library: %q", protocol, got)
		}
		c.send()
		if text := (<-c.answers).text; strings.HasPrefix(text, "won ") {
			if got := mode("n-0.5"); got != "exclusive" {
				t.Errorf("RESP%d: after the grant: %q", protocol, got)
			}
		} else if text != "notyet" || protocol == 3 {
			t.Errorf("RESP%d: the claim: %q", protocol, text)
		}
	}
}
