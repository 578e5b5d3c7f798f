package redislock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A dialed is a connection that go-redis has opened and authenticated, and uses
// no more.
type dialed struct {
	conn     net.Conn
	clientID string // "-" where the server has none
	runID    string // of the server; "-" where it has none, or does not tell
	close    func() // frees what go-redis keeps for it

	infoDenied bool // the run id is not known for that
}

// dial opens a connection with the user's dialer, and has go-redis set it up with
// the user's options: TLS, authentication, database, OnConnect. Its client name is
// name, by which it is known that it is this one that is to be killed. It takes the
// time that they give.
func dial(ctx context.Context, user *redis.Options, name string) (*dialed, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout(user))
	defer cancel()
	conn, err := user.Dialer(ctx, user.Network, user.Addr)
	if err != nil {
		return nil, dialError(user, err)
	}
	conn = withDeadlines(conn)
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	o := cloneOptions(user)
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
	client := redis.NewClient(o)
	client.AddHook(subcommandNamer{})
	single := client.Conn()
	d := &dialed{conn: conn, runID: "-", clientID: "-", close: func() { _, _, _ = single.Close(), client.Close(), conn.Close() }}
	info := single.Info(ctx, "server")
	if d.infoDenied = redis.HasErrorPrefix(info.Err(), "NOPERM"); !d.infoDenied {
		err = serverLacks(info.Err())
	}
	if err == nil {
		id := single.ClientID(ctx)
		if id.Err() == nil {
			d.clientID = strconv.FormatInt(id.Val(), 10)
		}
		err = serverLacks(id.Err())
	}
	if err == nil {
		err = serverLacks(single.ClientSetName(ctx, name).Err())
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		d.close()
		return nil, orProxy(err)
	}
	d.runID = field(info.Val(), "run_id")
	return d, nil
}

// connectTimeout is how long it may take to connect and to set the connection up.
func connectTimeout(user *redis.Options) time.Duration {
	return limit(user.DialTimeout) + 2*limit(user.ReadTimeout)
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
			c.why = plainly(serverError(line[1:]))
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

// orProxy returns an error that says what else could be the reason, where the server does
// not know a command, or hangs up: so does a proxy that passes on single commands, each to
// one of several servers.
func orProxy(err error) error {
	if isUnknown(err) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w (if it is a proxy: one that does not pass on subscriptions cannot be used)", err)
	}
	return err
}

// serverLacks returns nil for an error reply that says that the server, which is
// not a Redis, does not know the command, else err.
func serverLacks(err error) error {
	if isUnknown(err) && !strings.Contains(strings.ToLower(err.Error()), "auth") { // which was to be done before
		return nil
	}
	return err
}

// isUnknown reports whether the server says that it does not know a command.
func isUnknown(err error) bool {
	var answer redis.Error
	var own serverError
	if !errors.As(err, &answer) && !errors.As(err, &own) || codeOf(err) == "NOPERM" { // which names the user, too
		return false
	}
	return slices.ContainsFunc([]string{"unknown", "Unknown", "not supported", "unsupported"}, func(text string) bool {
		return strings.Contains(err.Error(), text)
	})
}

// field returns a field of what INFO says, or "-".
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "-"
}

// limit is d, or the default of go-redis where the user has set none.
func limit(d time.Duration) time.Duration {
	if d <= 0 {
		return 5 * time.Second
	}
	return d
}

// cloneOptions returns the options of a client for a client of our own.
func cloneOptions(user *redis.Options) *redis.Options {
	o := *user
	// NewClient has put defaults in the place of zeros, and zeros in that of -1.
	for _, d := range []*time.Duration{&o.ReadTimeout, &o.WriteTimeout, &o.MinRetryBackoff, &o.MaxRetryBackoff} {
		switch *d {
		case 0:
			*d = -1
		case -1:
			*d = -2
		}
	}
	if o.MaxRetries == 0 {
		o.MaxRetries = -1
	}
	o.ContextTimeoutEnabled = true
	o.MinIdleConns = 0
	o.Limiter = nil
	o.PushNotificationProcessor = nil
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.ClientSideCacheConfig, o.ClientSideCache = nil, nil
	if p := o.StreamingCredentialsProvider; p != nil {
		// go-redis would authenticate again on a connection that is ours.
		o.StreamingCredentialsProvider = nil
		o.CredentialsProviderContext = func(context.Context) (string, string, error) { return credentials(p) }
	}
	return &o
}

func credentials(p auth.StreamingCredentialsProvider) (string, string, error) {
	c, stop, err := p.Subscribe(noListener{})
	if err != nil {
		return "", "", err
	}
	if stop != nil {
		err = stop()
	}
	username, password := c.BasicAuth()
	return username, password, err
}

// A noListener does not listen.
type noListener struct{}

func (noListener) OnNext(auth.Credentials) {}
func (noListener) OnError(error)           {}
