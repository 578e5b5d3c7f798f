package redislock_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// A bare connection has no deadlines, as one through ssh.
type bareConn struct{ net.Conn }

func (bareConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (bareConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (bareConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// A Dialer whose connections have no deadlines serves as any other does, also when the
// server does not answer.
func TestConnectionsWithoutDeadlines(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		client := func() *redis.Client {
			return s.Client(func(o *redis.Options) {
				o.Protocol = protocol
				o.ReadTimeout, o.WriteTimeout = -2, -2
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					return bareConn{conn}, err
				}
			})
		}
		a, b := openWith(t, client(), nil), openWith(t, client(), nil)
		for range 20 {
			release(t, acquire(t, a, "n"))
		}
		held := acquire(t, a, "n")
		next := make(chan locker.Lock, 1)
		go func() { next <- acquire(t, b, "n") }()
		queued(t, s, "n", 1)
		release(t, held)
		held = <-next
		thaw := freezeServer(t, s)
		await(t, "Done", held.Done())
		thaw()
		release(t, acquire(t, b, "n", locker.WithTimeout(bound)))
	})
}

// credentials are those of users without a password, one after another.
type credentials struct {
	mu        sync.Mutex
	now       string                     // guarded by mu
	listeners []auth.CredentialsListener // guarded by mu
}

func (c *credentials) Subscribe(l auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, l)
	stop := func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listeners = slices.DeleteFunc(c.listeners, func(o auth.CredentialsListener) bool { return o == l })
		return nil
	}
	return auth.NewBasicCredentials(c.now, "secret"), stop, nil
}

func (c *credentials) become(user string) {
	c.mu.Lock()
	c.now = user
	listeners := slices.Clone(c.listeners)
	c.mu.Unlock()
	for _, l := range listeners {
		l.OnNext(auth.NewBasicCredentials(user, "secret"))
	}
}

// A session goes on with new credentials: a lock is held for longer than a token lasts.
func TestStreamingCredentials(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for _, user := range []string{"before", "after"} {
		s.Do("ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all")
	}
	c := &credentials{now: "before"}
	l := openWith(t, s.Client(func(o *redis.Options) { o.StreamingCredentialsProvider = c }), nil)
	lock := acquire(t, l, "n")
	user := func() string {
		text := s.Do("CLIENT", "LIST", "TYPE", "pubsub").(string)
		_, rest, _ := strings.Cut(text, " user=")
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	if got := user(); got != "before" {
		t.Fatalf("the session is that of user %q", got)
	}
	c.become("after")
	poll(t, "the session to authenticate again", func() bool { return user() == "after" })
	s.Do("ACL", "DELUSER", "before") // which cuts its connections
	release(t, acquire(t, l, "other"))
	if err := lock.Err(); err != nil {
		t.Error(err)
	}
	release(t, lock)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.listeners) > 0 {
		t.Errorf("%d listeners are left", len(c.listeners))
	}
}

// A recorder keeps what a client sends.
type recorder struct {
	net.Conn
	mu   *sync.Mutex
	sent *bytes.Buffer // guarded by mu
}

func (c *recorder) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.sent.Write(b)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// Some servers refuse a script without keys: none is sent.
func TestEachScriptHasKeys(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		var mu sync.Mutex
		var sent bytes.Buffer
		client := func() *redis.Client {
			return s.Client(func(o *redis.Options) {
				o.Protocol = protocol
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					return &recorder{conn, &mu, &sent}, err
				}
			})
		}
		a, b := openWith(t, client(), nil), openWith(t, client(), nil)
		held := acquire(t, a, "n")
		next := inBackground(t.Context(), t, b)
		queued(t, s, "n", 1)
		inspect(t, b, "n")
		release(t, held)
		release(t, <-next)
		a.Close()
		b.Close()
		mu.Lock()
		defer mu.Unlock()
		scripts := regexp.MustCompile(`(?is)\r\neval(?:sha)?\r\n\$\d+\r\n[^\r]*\r\n\$1\r\n(\d)\r\n`).FindAllSubmatch(sent.Bytes(), -1)
		if len(scripts) < 5 {
			t.Fatalf("%d scripts were sent, want more", len(scripts))
		}
		for _, script := range scripts {
			if string(script[1]) == "0" {
				t.Errorf("a script without keys: %q", script[0])
			}
		}
	})
}
