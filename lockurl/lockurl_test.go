package lockurl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/lockurl"
)

const secret = "s3cret-p4ss"

func open(t *testing.T, urls ...string) locker.Locker {
	t.Helper()
	l, err := lockurl.Open(t.Context(), urls...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // the second does nothing
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// exclude checks that two Lockers are on the same locks, and that the second does not
// wait, as its URL says.
func exclude(t *testing.T, holder, contender locker.Locker) {
	t.Helper()
	lock, err := holder.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := contender.Acquire(t.Context(), "n"); !errors.Is(err, locker.ErrAlreadyLocked) || errors.Is(err, locker.ErrTimeout) {
		t.Errorf("acquired by another while it is held, or waited for: %v", err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
	lock, err = contender.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func fileURL(dir string) string {
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(dir), "/")}).String()
}

// closedAddr returns an address that nobody listens at.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

func TestMemoryAndFiles(t *testing.T) {
	exclude(t, open(t, "mem://a"), open(t, "MEM://a?timeout=0"))
	dir := fileURL(filepath.Join(t.TempDir(), "a b"))
	exclude(t, open(t, dir), open(t, dir+"?fail_when_locked=true&check_interval=10ms&timeout=none"))
	a, err := open(t, "mem://a").Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(t, "mem://b?timeout=0").Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal("the locks of another name are the same: ", err)
	}
	_, _ = a.Release(t.Context()), b.Release(t.Context())
}

func TestRedis(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis.sock")
	s := redistest.Start(t, "--requirepass", secret, "--unixsocket", socket)
	for _, u := range []string{
		"redis://:" + secret + "@" + s.Addr + "/0",
		"redis://default:" + secret + "@" + s.Addr + "?protocol=2&dial_timeout=2s",
		"redis://:" + secret + "@" + s.Addr + "?settle_time=1ms&unavailable_timeout=2s&health_check_interval=5s",
		"redis://:" + secret + "@" + s.Addr + "?portalocker_names=true",
		"unix://:" + secret + "@" + socket + "?db=0",
	} {
		more := "&"
		if !strings.Contains(u, "?") {
			more = "?"
		}
		exclude(t, open(t, u), open(t, u+more+"timeout=0"))
	}
}

func TestSentinelAndCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many servers, and -short is set")
	}
	t.Run("Sentinel", func(t *testing.T) {
		f := redistest.StartFailover(t)
		o := f.Options()
		u := "redis+sentinel://" + o.SentinelAddrs[0] + "/0?master_name=" + o.MasterName + "&addr=" + strings.Join(o.SentinelAddrs[1:], "&addr=")
		exclude(t, open(t, u), open(t, u+"&timeout=0"))
	})
	t.Run("Cluster", func(t *testing.T) {
		c := redistest.StartCluster(t)
		u := "redis+cluster://" + strings.Replace(strings.ReplaceAll(c.Addr(), ",", "&addr="), "&", "?", 1)
		exclude(t, open(t, u), open(t, u+"&timeout=0"))
	})
}

// The first that answers is taken; the log says what was passed over, once.
func TestFallback(t *testing.T) {
	var logs bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logs, nil)))
	defer slog.SetDefault(before)
	silent := "redis://user:" + secret + "@" + closedAddr(t) + "?password_of_nobody="
	if _, err := lockurl.Open(t.Context(), silent, "mem://x"); !errors.Is(err, locker.ErrInvalid) {
		t.Errorf("an unknown option: %v", err)
	}
	silent, _, _ = strings.Cut(silent, "?")
	files := fileURL(t.TempDir())
	exclude(t, open(t, silent, files, "mem://fallback"), open(t, files+"?timeout=0"))
	if text := logs.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "connection refused") ||
		!strings.Contains(text, files) || strings.Contains(text, secret) {
		t.Errorf("the log: %s", text)
	}
	logs.Reset()
	exclude(t, open(t, files, silent), open(t, files+"?timeout=0"))
	if logs.Len() > 0 {
		t.Errorf("the log: %s", logs.String())
	}
	_, err := lockurl.Open(t.Context(), silent, strings.Replace(silent, "redis:", "redis+cluster:", 1))
	if text := fmt.Sprint(err); !errors.Is(err, locker.ErrUnavailable) || !errors.As(err, new(*net.OpError)) || strings.Contains(text, secret) || strings.Contains(text, "\n") ||
		!strings.Contains(text, "redis://127") || !strings.Contains(text, "redis+cluster://127") {
		t.Errorf("nobody answers: %v", err)
	}
}

// Who refuses is not passed over: that is a mistake.
func TestRefused(t *testing.T) {
	s := redistest.Start(t, "--requirepass", secret)
	file := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for u, want := range map[string]struct {
		err  error
		text string
	}{
		"redis://:wrong-" + secret + "@" + s.Addr: {locker.ErrUnavailable, "WRONGPASS"},
		"redis://" + s.Addr:                       {locker.ErrUnavailable, "NOAUTH"},
		fileURL(file):                             {locker.ErrInvalid, "not a directory"},
	} {
		l, err := lockurl.Open(t.Context(), u, "mem://refused")
		if l != nil || !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// When ctx ends, Open does, and passes nothing over.
func TestContextEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	began := time.Now()
	if got, err := lockurl.Open(ctx, "redis://"+l.Addr().String()+"?dial_timeout=1m&read_timeout=1m", "mem://ends"); got != nil || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) ||
		!strings.Contains(err.Error(), l.Addr().String()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open = %v, %v", got, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// What answers and is no Redis is a mistake, too. So is a directory that may not be used.
func TestNoRedis(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	if got, err := lockurl.Open(t.Context(), "redis://"+l.Addr().String(), "mem://x"); got != nil || !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Open = %v, %v", got, err)
	}
	if os.Getuid() <= 0 {
		t.Skip("root may do everything; and Windows does not say who one is")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if got, err := lockurl.Open(t.Context(), fileURL(filepath.Join(dir, "locks")), "mem://x"); got != nil || !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Open = %v, %v", got, err)
	}
}

// OpenWith gives options that those of the URL win over.
func TestOpenWith(t *testing.T) {
	var told []string
	trace := &locker.Trace{Acquired: func(_ context.Context, e locker.Event) { told = append(told, e.Name) }}
	l, err := lockurl.OpenWith(t.Context(), []locker.Option{locker.WithTrace(trace), locker.WithTimeout(time.Hour)}, "mem://with?timeout=0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exclude(t, l, l)
	if len(told) != 3 {
		t.Errorf("told of %q", told)
	}
}

// Choose says which URL was chosen, without secrets, and gives the client out.
func TestChoose(t *testing.T) {
	s := redistest.Start(t, "--requirepass", secret)
	dir := fileURL(t.TempDir())
	silent := "redis://" + closedAddr(t)
	for _, tt := range []struct {
		urls         []string
		url, backend string
	}{
		{[]string{"MEM://chosen?timeout=0", silent}, "mem://chosen", "memory"},
		{[]string{silent, dir + "?check_interval=1s"}, dir, "file"},
		{[]string{silent, "redis://default:" + secret + "@" + s.Addr + "/2?settle_time=1ms", dir}, "redis://" + s.Addr + "/2", "redis"},
	} {
		c, err := lockurl.Choose(t.Context(), nil, tt.urls...)
		if err != nil {
			t.Fatal(err)
		}
		if c.URL != tt.url || c.Backend != tt.backend || (c.Redis != nil) != (tt.backend == "redis") || strings.Contains(fmt.Sprintf("%+v", c), secret) {
			t.Errorf("Choose(%q) = %+v", tt.urls, c)
		}
		if c.Redis != nil {
			if err := c.Redis.Ping(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		}
		if err := c.Locker.Close(); err != nil {
			t.Error(err)
		}
		if c.Redis != nil && !errors.Is(c.Redis.Ping(t.Context()).Err(), redis.ErrClosed) {
			t.Error("the client is open after Close of the Locker")
		}
	}
	if c, err := lockurl.Choose(t.Context(), nil, silent); err == nil || c != (lockurl.Choice{}) {
		t.Errorf("Choose = %+v, %v", c, err)
	}
}

func TestInvalid(t *testing.T) {
	for u, text := range map[string]string{
		"":                                     "scheme",
		"redis":                                "scheme",
		"user:" + secret + "@host":             "scheme",
		"/var/lib/locks":                       "scheme",
		"http://host":                          `"http"`,
		"redis:host":                           "//",
		"redis://":                             "no host",
		"redis://u:a/" + secret + "@h":         "percent-encoded",
		"redis://:12/" + secret + "@h:6379/0":  "percent-encoded",
		"redis://u:" + secret + "#1@h:6379":    "percent-encoded",
		"redis://:12?" + secret + "@h:6379/0":  "percent-encoded",
		"redis://:1?a=1&" + secret + "@h":      "percent-encoded",
		"redis://u:" + secret + "@h:6379/a":    "database number",
		"redis://u:" + secret + "@h:port":      "percent-encoded",
		"redis://u:" + secret + "@h?what=1":    "what",
		"redis://h?timeout=soon":               `timeout="soon"`,
		"redis://h?timeout=1s;settle_time=1s":  "percent-encoded",
		"redis://h?timeout=3%s":                "percent-encoded",
		"\tredis://h":                          "want one like",
		"127.0.0.1:6379":                       "want one like",
		"redis://h?timeout=-1s":                `timeout="-1s"`,
		"redis://h?timeout=1s&timeout=2s":      "2 times",
		"redis://h?check_interval=0s":          "positive",
		"redis://h?settle_time=1":              `settle_time="1"`,
		"redis://h?portalocker_names=perhaps":  "portalocker_names",
		"redis+sentinel://u:" + secret + "@h":  "master_name",
		"redis+cluster://u:" + secret + "@h?x": "x",
		"file://host/dir":                      "three slashes",
		"file://dir":                           "three slashes",
		"file:///dir?linger=1s":                "linger",
		"mem://":                               "name",
		"mem://a/b":                            "name",
		"mem://a?settle_time=1s":               "settle_time",
	} {
		l, err := lockurl.Open(t.Context(), "mem://first", u)
		if l != nil || !errors.Is(err, locker.ErrInvalid) {
			t.Errorf("%q: %v, %v", u, l, err)
			continue
		}
		if got := err.Error(); !strings.Contains(got, text) || strings.Contains(got, secret) || strings.Contains(got, "\n") || !strings.Contains(got, "://") && !strings.Contains(got, "redis+cluster") {
			t.Errorf("%q: %s; want %q in it, the form that is accepted, and no password", u, got, text)
		}
	}
	if _, err := lockurl.Open(t.Context()); !errors.Is(err, locker.ErrInvalid) {
		t.Error(err)
	}
}
