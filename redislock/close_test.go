package redislock_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// slowly has a client wait for an answer for far longer than the tests do.
func slowly(protocol int) func(*redis.Options) {
	return func(o *redis.Options) { o.Protocol, o.ReadTimeout, o.DialTimeout = protocol, time.Hour, time.Hour }
}

// Close ends soon, whatever is under way at a server that does not answer.
func TestCloseOfASilentServer(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for what, use := range map[string]func(t *testing.T, s *redistest.Server, l *redislock.Locker){
			"nothing": func(t *testing.T, _ *redistest.Server, l *redislock.Locker) { release(t, acquire(t, l, "n")) },
			"a lock":  func(t *testing.T, _ *redistest.Server, l *redislock.Locker) { acquire(t, l, "n") },
			"a waiter": func(t *testing.T, s *redistest.Server, l *redislock.Locker) {
				acquire(t, openWith(t, s.Client(slowly(protocol)), calm), "n")
				go func() { _, _ = l.Acquire(context.Background(), "n", locker.WithTimeout(locker.NoTimeout)) }()
				queued(t, s, "n", 1)
			},
		} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				s := redistest.Start(t)
				l := openWith(t, s.Client(slowly(protocol)), calm)
				use(t, s, l)
				freezeServer(t, s)
				began := time.Now()
				closed := make(chan error, 1)
				go func() { closed <- l.Close() }()
				select {
				case err := <-closed:
					t.Logf("%v, after %v", err, time.Since(began).Round(time.Millisecond))
				case <-time.After(bound):
					t.Error("Close does not return")
				}
			})
		}
	})
}

// A deaf connection passes on all but some commands, whose answers never come.
type deafConn struct {
	net.Conn
	to    []byte
	heard *atomic.Int64
}

func (c *deafConn) Write(b []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(b), c.to) {
		c.heard.Add(1)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// The end of ctx ends an Acquire also while it looks for those who hang.
func TestCtxEndsALookForTheHung(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for _, command := range []string{"\r\nlist\r\n", "\r\nkill\r\n", "\r\nchannels\r\n"} {
			s := redistest.Start(t)
			hung := s.Raw()
			hung.Do("CLIENT", "SETNAME", "n-lock")
			hung.Do("SUBSCRIBE", "n")
			var heard atomic.Int64
			l := openWith(t, s.Client(func(o *redis.Options) {
				slowly(protocol)(o)
				dial := o.Dialer
				if dial == nil {
					dial = redis.NewDialer(o)
				}
				o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					return &deafConn{conn, []byte(command), &heard}, err
				}
			}), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond}, locker.WithCheckInterval(20*time.Millisecond))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := l.Acquire(ctx, "n", locker.WithTimeout(locker.NoTimeout))
				ended <- err
			}()
			poll(t, "the command", func() bool { return heard.Load() > 0 })
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(bound):
				t.Fatalf("%q: Acquire does not return", command)
			}
		}
	})
}
