package session

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// With RESP2 the answers to a claim's SUBSCRIBE and script come in any order. A
// SUBSCRIBE that the server has refused is the reason of the failure also when the
// script had found nobody on the channel before; and other locks are kept.
func TestSubscribeRefusedAfterTheScript(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "resetchannels", "&n*", "&locker:session:*", "+@all")
	client := s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = 2, "worker", "secret" })
	l, d := openWith(t, client.Options(), calm)
	held, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	a := &locker.Attempt{Name: "other", CheckInterval: time.Second}
	_, p, err := d.session(t, "").plan(t.Context(), a, "other")
	if err != nil {
		t.Fatal(err)
	}
	c := p.claim
	c.answers <- claimAnswer{ClaimAnswer: protocol.ClaimAnswer{Outcome: protocol.OutcomeNoChannel}}
	c.subscribe()
	<-c.subscribed
	_, err = c.settle(t.Context())
	var refused resp.Error
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
	for _, version := range []int{3, 2} {
		s := redistest.Start(t)
		client := s.Client(func(o *redis.Options) { o.Protocol = version })
		l, d := openWith(t, client.Options(), calm)
		if _, err := l.Acquire(t.Context(), "other"); err != nil {
			t.Fatal(err)
		}
		a := &locker.Attempt{Name: "n", CheckInterval: time.Second}
		session := d.session(t, "n")
		m, p, err := session.plan(t.Context(), a, "n")
		if err != nil {
			t.Fatal(err)
		}
		mode := func(channel string) protocol.PongMode {
			session.mu.Lock()
			defer session.mu.Unlock()
			if m.pinged(protocol.NewPing(channel)) == nil {
				return ""
			}
			if m.holdsFor(!strings.Contains(channel, ":h:")) {
				return protocol.Exclusive
			}
			return protocol.Pending
		}
		c := p.claim
		if got := mode("n-0.5"); got != protocol.Pending {
			t.Errorf("RESP%d: before the claim: %q", version, got)
		}
		session.mu.Lock() // what the server says is not taken in yet
		c.unsure = !session.fast
		session.mu.Unlock()
		if got, want := mode("n-0.5"), map[int]protocol.PongMode{3: protocol.Pending, 2: protocol.Exclusive}[version]; got != want {
			t.Errorf("RESP%d: when the script may have run: %q, want %q", version, got, want)
		}
		if got := mode("n:h:" + strings.Repeat("a", 32)); got != protocol.Pending {
			t.Errorf("RESP%d: to one of this library: %q", version, got)
		}
		c.subscribe()
		session.conn.Resume()
		if outcome := (<-c.answers).Outcome; outcome == protocol.OutcomeWon {
			if got := mode("n-0.5"); got != protocol.Exclusive {
				t.Errorf("RESP%d: after the grant: %q", version, got)
			}
		} else if outcome != protocol.OutcomeNoChannel || version == 3 {
			t.Errorf("RESP%d: the claim: %v", version, outcome)
		}
	}
}
