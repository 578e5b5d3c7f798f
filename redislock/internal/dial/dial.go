// Package dial opens connections with the options of the user's client: go-redis makes and
// authenticates them, and uses them no more.
package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/redislock/internal/resp"
)

// A Conn is a connection that go-redis has opened and authenticated, and uses
// no more.
type Conn struct {
	Net        net.Conn
	Tunneled   bool   // it knows no deadlines: where one passes, Net is closed
	ClientID   string // "-" where the server has none
	RunID      string // of the server; "-" where it has none, or does not tell
	InfoDenied bool   // which is why RunID is not known

	close func() // frees what go-redis keeps for it
}

// Close closes the connection.
func (c *Conn) Close() { c.close() }

// Dial opens a connection with the user's dialer, and has go-redis set it up with
// the user's options: TLS, authentication, database, OnConnect. Its client name is
// name, by which it is known that it is this one that is to be killed. It takes the
// time that they give.
func Dial(ctx context.Context, user *redis.Options, name string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout(user))
	defer cancel()
	conn, err := user.Dialer(ctx, user.Network, user.Addr)
	if err != nil {
		return nil, dialError(user, err)
	}
	conn, tunneled := withDeadlines(conn)
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	o := CloneOptions(user)
	o.ClientName = "" // the last one counts, but OnConnect may set it, too
	o.PoolSize = 8    // after as many errors as that, go-redis dials in the background
	o.MaxRetries = -1
	o.DialerRetries = 1
	var taken atomic.Bool
	o.Dialer = func(context.Context, string, string) (net.Conn, error) {
		if taken.Swap(true) {
			return nil, errSetUp // go-redis cannot have another in its place
		}
		return &setUp{Conn: conn}, nil
	}
	client := NewClient(o)
	single := client.Conn()
	d := &Conn{Net: conn, Tunneled: tunneled, RunID: "-", ClientID: "-", close: func() { _, _, _ = single.Close(), client.Close(), conn.Close() }}
	info := single.Info(ctx, "server")
	if d.InfoDenied = redis.HasErrorPrefix(info.Err(), "NOPERM"); !d.InfoDenied {
		err = UnlessUnknown(info.Err())
	}
	if err == nil {
		id := single.ClientID(ctx)
		if id.Err() == nil {
			d.ClientID = strconv.FormatInt(id.Val(), 10)
		}
		err = UnlessUnknown(id.Err())
	}
	if err == nil {
		err = UnlessUnknown(single.ClientSetName(ctx, name).Err())
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		d.close()
		return nil, OrProxy(err)
	}
	d.RunID = Field(info.Val(), "run_id")
	return d, nil
}

// Timeout is how long it may take to connect and to set the connection up.
func Timeout(user *redis.Options) time.Duration {
	return Limit(user.DialTimeout) + 2*Limit(user.ReadTimeout)
}

// dialError says what took too long where a dialer says no more than that a ctx has
// ended: the ctx was not the caller's.
func dialError(user *redis.Options, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*net.OpError)) {
		return err
	}
	with := ""
	if user.TLSConfig != nil {
		with = " with TLS"
	}
	return fmt.Errorf("connecting to %s%s: %w", user.Addr, with, &net.OpError{Op: "dial", Net: user.Network, Err: os.ErrDeadlineExceeded})
}

var errSetUp = errors.New("the connection was lost while it was set up")

// A setUp is a connection while go-redis sets it up. It is not for go-redis to look
// into: with TLS 1.3 that takes the server's session tickets for the beginning of a push,
// and waits for the rest.
type setUp struct {
	net.Conn
	begun bool  // something was read
	why   error // why the server refuses all, if that is the only thing that it has said
}

// Read returns why the server has closed the connection, if it has said so.
func (c *setUp) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		line, _, whole := strings.Cut(string(b[:n]), "\r\n")
		if c.why = nil; !c.begun && whole && line[0] == '-' {
			c.why = resp.Plainly(resp.Error(line[1:]))
		}
		c.begun = true
	} else if c.why != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.why
	}
	return n, err
}

// Write returns why the server has closed the connection, if it has said so: for one
// client too many, before it has read anything; and with TLS 1.3 it refuses a client's
// certificate when the handshake is over for the client.
func (c *setUp) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	var alert *net.OpError
	if _, why := c.Read(make([]byte, 512)); errors.As(why, &alert) && alert.Op == "remote error" {
		err = why
	}
	if c.why != nil {
		err = c.why
	}
	return n, err
}

// OrProxy returns an error that says what else could be the reason, where the server does
// not know a command, or hangs up: so does a proxy that passes on single commands, each to
// one of several servers.
func OrProxy(err error) error {
	if resp.IsUnknown(err) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w (if it is a proxy: one that does not pass on subscriptions cannot be used)", err)
	}
	return err
}

// UnlessUnknown returns err, but nil where the server, which is not a Redis, says that it does
// not know the command.
func UnlessUnknown(err error) error {
	if resp.IsUnknown(err) && !strings.Contains(strings.ToLower(err.Error()), "auth") { // which was to be done before
		return nil
	}
	return err
}

// Field returns a field of what INFO says, or "-".
func Field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "-"
}

// Limit is d, or the default of go-redis where the user has set none.
func Limit(d time.Duration) time.Duration {
	if d <= 0 {
		return 5 * time.Second
	}
	return d
}
