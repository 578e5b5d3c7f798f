package redislock

import (
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
	m, err := d.only.session.member(t.Context(), a)
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
