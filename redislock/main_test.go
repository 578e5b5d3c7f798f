package redislock_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/locktest"
	"github.com/golocker/locker/redislock"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	redistest.Parallel(6)
	goleak.VerifyTestMain(m)
}

// calm is for tests that are not about holders that hang: on a machine with too much
// to do, a process may stand still for longer than the default allows.
var calm = &redislock.Options{UnavailableTimeout: 10 * time.Second}

// open returns a calm Locker on the Redis at addr.
func open(t testing.TB, addr string, protocol int, opts ...locker.Option) *redislock.Locker {
	t.Helper()
	return openWith(t, redistest.Client(t, addr, func(o *redis.Options) { o.Protocol = protocol }), calm, opts...)
}

// openAlert returns one that takes others for hung after a second.
func openAlert(t testing.TB, addr string, protocol int, opts ...locker.Option) *redislock.Locker {
	t.Helper()
	return openWith(t, redistest.Client(t, addr, func(o *redis.Options) { o.Protocol = protocol }), nil, opts...)
}

func openWith(t testing.TB, c redis.UniversalClient, o *redislock.Options, opts ...locker.Option) *redislock.Locker {
	t.Helper()
	l, err := redislock.New(c, o, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// conformance runs the suite on servers that start starts. It returns their URL; that
// of a server with TLS has the directory of the certificates as its fragment.
func conformance(t *testing.T, start func(testing.TB) string) { conformanceWith(t, calm, start) }

func conformanceWith(t *testing.T, o *redislock.Options, start func(testing.TB) string) {
	redistest.Require(t, "redis-server")
	locktest.Run(t, locktest.Harness{
		New: start,
		Open: func(t testing.TB, url string, opts ...locker.Option) locker.Locker {
			return openWith(t, client(t, urlOptions(t, url)), o, opts...)
		},
		CrossProcess: true,
		Recovery:     500 * time.Millisecond, // two check intervals: the waiter at the head may be killed with the holder
		Break: func(t testing.TB, url string, _ locker.Lock) {
			o := urlOptions(t, url)
			o.Username, o.Password = "", "" // those who hold locks may not be allowed to do it
			if err := client(t, o).Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func urlOptions(t testing.TB, url string) *redis.Options {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, dir, ok := strings.Cut(url, "#"); ok {
		c := tlsConfig(t, dir)
		o.TLSConfig.RootCAs, o.TLSConfig.Certificates = c.RootCAs, c.Certificates
	}
	return o
}

func client(t testing.TB, o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}
