package redislock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer cluster.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	failover := redis.NewFailoverClusterClient(&redis.FailoverOptions{MasterName: "locks", SentinelAddrs: []string{"127.0.0.1:1"}})
	defer failover.Close()
	client := redistest.Client(t, "127.0.0.1:1", nil)
	var none *redis.Client
	for _, tt := range []struct {
		name    string
		client  redis.UniversalClient
		options *redislock.Options
		says    string
	}{
		{"nil", nil, nil, "nil"},
		{"nil pointer", none, nil, "nil"},
		{"Ring", ring, nil, "*redis.Ring"},
		{"Cluster client for Sentinel", failover, nil, "redis.NewFailoverClient "},
		{"PortalockerNames in a Cluster", cluster, &redislock.Options{PortalockerNames: true}, "Options.PortalockerNames"},

		{"SettleTime", client, &redislock.Options{SettleTime: -1}, "SettleTime"},
		{"UnavailableTimeout", client, &redislock.Options{UnavailableTimeout: -time.Second}, "UnavailableTimeout"},
		{"HealthCheckInterval", client, &redislock.Options{HealthCheckInterval: -time.Second}, "HealthCheckInterval"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := redislock.New(tt.client, tt.options)
			if l != nil || !errors.Is(err, locker.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("New = %v, %v; want ErrInvalid that names %q", l, err, tt.says)
			}
		})
	}
}

// A Redis that does not do what a lock needs is an ErrUnavailable that says why,
// at once and without the password.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	const password = "s3cret-p4ssw0rd"
	deny := func(what string) func(*testing.T) *redis.Client {
		return func(t *testing.T) *redis.Client {
			s := redistest.Start(t)
			setUser(s, "worker", append([]string{"on", ">" + password, "~*", "&*", "+@all"}, denying(what)...))
			return s.Client(func(o *redis.Options) { o.Username, o.Password = "worker", password })
		}
	}
	for _, tt := range []struct {
		name   string
		says   string
		client func(*testing.T) *redis.Client
	}{
		{"nobody listens", "refused", func(t *testing.T) *redis.Client {
			return redistest.Client(t, "127.0.0.1:1", nil)
		}},
		{"password wanted", "NOAUTH", func(t *testing.T) *redis.Client {
			return redistest.Start(t, "--requirepass", password).Client(nil)
		}},
		{"wrong password", "WRONGPASS", func(t *testing.T) *redis.Client {
			s := redistest.Start(t, "--requirepass", "other")
			return s.Client(func(o *redis.Options) { o.Password = password })
		}},
		{"read-only replica", "READONLY", func(t *testing.T) *redis.Client {
			primary := redistest.Start(t)
			_, port, _ := net.SplitHostPort(primary.Addr)
			return redistest.Start(t, "--replicaof", "127.0.0.1", port).Client(nil)
		}},
		{"loading", "LOADING", func(t *testing.T) *redis.Client {
			redistest.RequireVersion(t, 7, 0, "it answers too seldom while it loads")
			dir := t.TempDir()
			s := redistest.Start(t, "--dir", dir)
			s.Do("EVAL", "for i = 1, 3000 do redis.call('SET', i, string.rep('x', 1000)) end", 0)
			s.Do("SAVE")
			s.Kill()
			// It takes a while to read what it had saved.
			return redistest.Start(t, "--dir", dir, "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024").Client(nil)
		}},
		{"subscribe denied", "'subscribe'", deny("subscribe")},
		{"evalsha denied", "'evalsha'", deny("evalsha")},
		{"info denied is no matter", "", deny("info")},
		{"dangerous commands denied are no matter", "", func(t *testing.T) *redis.Client {
			redistest.RequireVersion(t, 7, 0, "it counts all that CLIENT does among them")
			return deny("@dangerous")(t)
		}},
		{"set denied", "'set'", deny("set")},
		{"numsub denied", "'pubsub numsub' in a script", deny("pubsub|numsub")},
		{"publish denied", "'publish'", deny("publish")},
		{"client setname denied", "'client|setname'", deny("client|setname")},
		{"client kill denied is no matter while nobody hangs", "", deny("client|kill")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, protocol := range []int{3, 2} {
				c := tt.client(t)
				o := c.Options()
				c = redis.NewClient(&redis.Options{Addr: o.Addr, Username: o.Username, Password: o.Password, Protocol: protocol, MaxRetries: -1})
				defer c.Close()
				l := openWith(t, c, nil)
				lock, err := l.Acquire(t.Context(), "nightly-report", locker.WithTimeout(time.Minute))
				if tt.says == "" {
					if err != nil {
						t.Fatal(err)
					}
					if err := lock.Release(t.Context()); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("RESP%d: Acquire: %v; want ErrUnavailable that says %q", protocol, err, tt.says)
				}
				if err != nil && strings.Contains(err.Error(), password) {
					t.Errorf("the error shows the password: %v", err)
				}
				var op *net.OpError
				if tt.says == "refused" && !errors.As(err, &op) {
					t.Errorf("Acquire: %v; want a *net.OpError in it", err)
				}
			}
		})
	}
}

// A server that accepts connections and says nothing ends an attempt within the
// limits of the client, and a wait at its timeout or the end of its ctx.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := redistest.Client(t, listener.Addr().String(), func(o *redis.Options) { o.ReadTimeout = 300 * time.Millisecond })
	l := openWith(t, c, nil)

	_, err = l.Acquire(t.Context(), "a", locker.WithTimeout(0))
	var timeout net.Error
	if !errors.Is(err, locker.ErrUnavailable) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("timeout 0: %v; want ErrUnavailable and a net.Error with Timeout()", err)
	}
	_, err = l.Acquire(t.Context(), "a", locker.WithTimeout(50*time.Millisecond))
	if !errors.Is(err, locker.ErrUnavailable) || errors.Is(err, locker.ErrTimeout) {
		t.Errorf("timeout 50ms: %v; want ErrUnavailable", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = l.Acquire(ctx, "a", locker.WithTimeout(locker.NoTimeout))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ctx of 50ms: %v; want context.DeadlineExceeded", err)
	}
}

// A name that the ACL denies costs nobody else a lock.
func TestDeniedNameIsAlone(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all", "resetchannels", "&jobs:*", "&locker:session:*")
		l := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, "worker", "secret" }), nil)
		lock := acquire(t, l, "jobs:a")
		if _, err := l.Acquire(t.Context(), "other"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "channel") {
			t.Errorf("Acquire: %v; want ErrUnavailable that says that it was a channel", err)
		}
		release(t, acquire(t, l, "jobs:b")) // all that was sent before has been answered
		if err := lock.Err(); err != nil {
			t.Error(err)
		}
	})
}

// A server that repeats a command that it does not know does not have the password
// repeated.
func TestPasswordIsNotRepeated(t *testing.T) {
	t.Parallel()
	const password = "s3cret-p4ssw0rd"
	for _, args := range [][]string{
		{"--rename-command", "AUTH", ""},
		{"--rename-command", "HELLO", ""},
		{"--rename-command", "AUTH", "", "--rename-command", "HELLO", ""},
	} {
		s := redistest.Start(t, args...)
		for _, protocol := range []int{3, 2} {
			var logs syncBuffer
			c := s.Client(func(o *redis.Options) { o.Username, o.Password, o.Protocol = "default", password, protocol })
			l := openWith(t, c, nil, locker.WithLogger(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			_, err := l.Acquire(t.Context(), "n", locker.WithTimeout(time.Second))
			if all := fmt.Sprint(err, logs.String()); strings.Contains(all, password) {
				t.Errorf("RESP%d, %v: %s", protocol, args, all)
			}
		}
	}
}

// A foreign holder is a holder, however short the timeout is.
func TestForeignHolderAndShortTimeout(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		l := open(t, s.Addr, protocol)
		release(t, acquire(t, l, "other")) // connects
		listen(t, s, "n")
		_, err := l.Acquire(t.Context(), "n", locker.WithTimeout(30*time.Millisecond))
		if !errors.Is(err, locker.ErrAlreadyLocked) || errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("Acquire: %v, want ErrAlreadyLocked", err)
		}
	})
}

// Close does not wait for a server that accepts a connection and then hangs.
func TestCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	hangs := make(chan struct{}, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "hello", "client":
				_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
			case "info":
				_, _ = conn.Write([]byte("$0\r\n\r\n"))
			case "subscribe":
				hangs <- struct{}{}
			}
		}
	}()
	c := redistest.Client(t, listener.Addr().String(), func(o *redis.Options) {
		o.Protocol, o.DisableIdentity, o.ReadTimeout = 2, true, time.Hour
	})
	l := openWith(t, c, nil)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Acquire(context.Background(), "n", locker.WithTimeout(locker.NoTimeout))
		ended <- err
	}()
	await(t, "the greeting", hangs)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, locker.ErrClosed) {
		t.Errorf("Acquire: %v, want ErrClosed", err)
	}
}
