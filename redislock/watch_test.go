package redislock_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// A network is what lies between a client and its server.
type network struct {
	delay  time.Duration // of each write
	silent atomic.Bool   // nothing that the server says arrives
	open   sync.Map      // the connections that the server is not told the end of
}

// partition changes options so that, once the network is silent, neither side hears
// anything of the other, not even that it has closed its connection.
func (n *network) partition(o *redis.Options) {
	n.options(o)
	o.ReadTimeout = 0
	dial := o.Dialer
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			n.open.Store(c, nil) // so that nobody closes it
			c.(*networkConn).stays = true
		}
		return c, err
	}
}

func (n *network) options(o *redis.Options) {
	o.ReadTimeout = 150 * time.Millisecond
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if n.silent.Load() {
			return nil, errors.New("no route to host")
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		return &networkConn{Conn: c, network: n}, err
	}
}

type networkConn struct {
	net.Conn
	network *network
	stays   bool // the server is not told of Close when the network is silent
}

func (c *networkConn) Write(b []byte) (int, error) {
	time.Sleep(c.network.delay)
	if c.stays && c.network.silent.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *networkConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.network.silent.Load() {
			return n, err
		}
	}
}

func (c *networkConn) Close() error {
	if c.stays && c.network.silent.Load() {
		return c.SetReadDeadline(time.Unix(1, 0)) // ends a Read
	}
	return c.Conn.Close()
}

// A session that was idle for longer than a command may take is not ended by the
// next command, however slow the network is.
func TestIdleSessionIsKept(t *testing.T) {
	t.Parallel()
	n := network{delay: 40 * time.Millisecond}
	c := redistest.Start(t).Client(n.options)
	l := openWith(t, c, nil)
	held := acquire(t, l, "held")
	for range 3 {
		time.Sleep(200 * time.Millisecond) // idle, for longer than the read timeout
		release(t, acquire(t, l, "n"))
	}
	if err := held.Err(); err != nil {
		t.Error(err)
	}
}

// A server that falls silent is noticed: by a PING when the session is idle, and
// by a command that gets no answer.
func TestSilenceIsALoss(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		var n network
		c := redistest.Start(t).Client(n.options)
		o := &redislock.Options{UnavailableTimeout: 100 * time.Millisecond, HealthCheckInterval: 200 * time.Millisecond}
		if busy {
			o.HealthCheckInterval = time.Hour
		}
		l := openWith(t, c, o)
		held := acquire(t, l, "held")
		n.silent.Store(true)
		if busy {
			_, err := l.Acquire(t.Context(), "n", locker.WithTimeout(0))
			if !errors.Is(err, locker.ErrUnavailable) {
				t.Errorf("an attempt on a silent server: %v, want ErrUnavailable", err)
			}
		}
		await(t, "Done", held.Done())
		if err := held.Err(); !errors.Is(err, locker.ErrLost) {
			t.Errorf("Err = %v", err)
		}
	}
}

// A server that refuses to let go of the channel has to: the session ends.
func TestUnsubscribeRefused(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-unsubscribe")
		worker := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, "worker", "secret" }), nil)
		err := acquire(t, worker, "n").Release(t.Context())
		if !errors.Is(err, locker.ErrUnavailable) || errors.Is(err, locker.ErrLost) {
			t.Errorf("Release: %v, want ErrUnavailable", err)
		}
		release(t, acquire(t, open(t, s.Addr, protocol), "n"))
	})
}
