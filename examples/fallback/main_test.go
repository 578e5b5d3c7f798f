package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/internal/programtest"
	"github.com/golocker/locker/internal/redistest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

const password = "s3cr3t"

// open returns a Locker, what the log says and the error.
func open(t *testing.T, ctx context.Context, url string) (locker.Locker, string, error) {
	t.Helper()
	var log bytes.Buffer
	l, err := openLocks(ctx, url, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil {
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		lock, err := l.Acquire(ctx, "nightly-report")
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(ctx); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(log.String(), password) || err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the password is shown: %s, %v", log.String(), err)
	}
	return l, log.String(), err
}

func TestRedisThatAnswers(t *testing.T) {
	s := redistest.Start(t, "--requirepass", password)
	l, log, err := open(t, t.Context(), "redis://:"+password+"@"+s.Addr+"/0")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.(redisLocker); !ok || !strings.Contains(log, "locks are in Redis") {
		t.Errorf("a %T, log %s; want Redis", l, log)
	}
}

func TestRedisThatDoesNotAnswer(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"nobody listens":      func(*testing.T) string { return "redis://:" + password + "@127.0.0.1:1/0" },
		"nobody listens, TLS": func(*testing.T) string { return "rediss://:" + password + "@127.0.0.1:1/0" },
		"it is silent": func(t *testing.T) string {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			return "redis://:" + password + "@" + listener.Addr().String() + "/0?read_timeout=200ms"
		},
		"it reads what it had saved": func(t *testing.T) string {
			dir := t.TempDir()
			s := redistest.Start(t, "--dir", dir)
			s.Do("EVAL", "for i = 1, 3000 do redis.call('SET', i, string.rep('x', 1000)) end", 0)
			s.Do("SAVE")
			s.Kill()
			s = redistest.Start(t, "--dir", dir, "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
			return "redis://" + s.Addr + "/0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, log, err := open(t, t.Context(), url(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := l.(*filelock.Locker); !ok || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "locks are files") {
				t.Errorf("a %T, log %s; want files and a warning", l, log)
			}
		})
	}
}

// What Redis answers is no reason for a fallback: a process with a mistake in its
// configuration would exclude none of the others.
func TestRedisThatRefuses(t *testing.T) {
	s := redistest.Start(t)
	for name, rights := range map[string]string{
		"key":     "~myapp:* &* +@all",
		"channel": "~* &myapp:* &locker:session:* +@all",
		"command": "~* &* +@all -subscribe",
		"script":  "~* &* +@all -time",
	} {
		args := []any{"ACL", "SETUSER", name, "on", ">" + password, "resetchannels"}
		for right := range strings.FieldsSeq(rights) {
			args = append(args, right)
		}
		s.Do(args...)
	}
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", "1")
	for _, tt := range []struct{ name, url, says string }{
		{"wrong password", "redis://key:" + password + "2@" + s.Addr, "WRONGPASS"},
		{"key denied", "redis://key:" + password + "@" + s.Addr, "NOPERM"},
		{"channel denied", "redis://channel:" + password + "@" + s.Addr, "NOPERM"},
		{"command denied", "redis://command:" + password + "@" + s.Addr, "NOPERM"},
		{"command of a script denied", "redis://script:" + password + "@" + s.Addr, "'time'"},
		{"no such database", "redis://" + s.Addr + "/99", "DB index"},
		{"replica", "redis://" + replica.Addr, "READONLY"},
		// Redis waits for the end of what it takes for a command.
		{"TLS, which it does not speak", "rediss://" + s.Addr, "timeout"},
	} {
		for _, protocol := range []string{"2", "3"} {
			t.Run(tt.name+", RESP"+protocol, func(t *testing.T) {
				l, _, err := open(t, t.Context(), tt.url+"?dial_timeout=1s&protocol="+protocol)
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("a %T, %v; want an error that says %s", l, err, tt.says)
				}
			})
		}
	}
}

// A mistake in the configuration, and a start that was given up, are errors: no
// reason for a fallback.
func TestErrors(t *testing.T) {
	if _, _, err := open(t, t.Context(), "redis://:"+password+"@localhost:port/0"); err == nil {
		t.Error("a URL that is not valid: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := open(t, ctx, "redis://127.0.0.1:1/0"); !errors.Is(err, context.Canceled) {
		t.Errorf("ctx has ended: %v; want context.Canceled", err)
	}
}

func TestArguments(t *testing.T) { programtest.RefusesArguments(t) }
