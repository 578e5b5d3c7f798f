//go:build linux

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

// An address is how a Locker reaches its server.
type address struct {
	Addr     string
	Protocol int
}

const (
	dialTimeout = 500 * time.Millisecond
	readTimeout = 500 * time.Millisecond
)

func newClient(server address, broken []edit) *redis.Client {
	o := &redis.Options{Addr: server.Addr, Protocol: server.Protocol, DialTimeout: dialTimeout, ReadTimeout: readTimeout}
	if len(broken) > 0 {
		o.Dialer = editor(broken)
	}
	return redis.NewClient(o)
}

// A slot is the place of a Locker, which is closed now and then, and replaced by a
// new one: also while it holds locks and others wait through it.
type slot struct {
	load   *load
	server address

	mu   sync.Mutex
	open *opened // guarded by mu
}

type opened struct {
	*redislock.Locker
	client  *redis.Client
	closing atomic.Bool // set before Close is called
}

func (s *slot) current() *opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// renew opens a Locker.
func (s *slot) renew() error {
	client := newClient(s.server, s.load.Broken)
	l, err := redislock.New(client, &redislock.Options{UnavailableTimeout: s.load.Unavailable, SettleTime: settleTime},
		locker.WithLogger(slog.New(listener{s.load})))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = &opened{Locker: l, client: client}
	return nil
}

// renewAgain renews the Locker until the load is to be quiet.
func (s *slot) renewAgain(random *rand.Rand) {
	for {
		s.load.pause(time.Second + upTo(random, 4*time.Second))
		if s.load.ctx.Err() != nil {
			return
		}
		old := s.current()
		if err := s.renew(); err != nil {
			s.load.wrong("", now(), "New: %v", err)
			return
		}
		s.close(old)
	}
}

func (s *slot) close(o *opened) {
	o.closing.Store(true)
	called := now()
	if err := o.Close(); err != nil {
		s.load.wrong("", called, "Close: %v", err)
	}
	_ = o.client.Close()
	returned := now()
	bound := 2 * (dialTimeout + readTimeout)
	if took := time.Duration(returned - called); took > bound+tooLong {
		s.load.late("", called, returned, "Close", took, bound)
	}
}

// A listener makes the warnings of a Locker a part of the history.
type listener struct{ load *load }

func (listener) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (l listener) WithAttrs([]slog.Attr) slog.Handler             { return l }
func (l listener) WithGroup(string) slog.Handler                  { return l }

func (l listener) Handle(_ context.Context, r slog.Record) error {
	e := event{Kind: said, Process: l.load.Process, From: now(), Text: r.Message}
	e.Until = e.From
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "lock" {
			e.Name = a.Value.String()
		} else {
			e.Text += " " + a.String()
		}
		return true
	})
	l.load.tell(e)
	return nil
}

// An edit replaces a part of what is sent to the server by something of the same
// length: a line of a script, so that the protocol is another one.
type edit struct{ Old, New string }

// editor returns a dialer whose connections make the edits. The server never has
// the script that EVALSHA names then, and is sent it each time.
func editor(edits []edit) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return nil, fmt.Errorf("a %T", c)
		}
		return &editedConn{tcp, edits}, nil
	}
}

type editedConn struct {
	*net.TCPConn // and what else it can do
	edits        []edit
}

func (c *editedConn) Write(b []byte) (int, error) {
	for _, e := range c.edits {
		b = bytes.ReplaceAll(b, []byte(e.Old), []byte(e.New))
	}
	return c.TCPConn.Write(b)
}
