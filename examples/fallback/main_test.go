package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/internal/redistest"
)

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

func TestRedisThatCannotBeUsed(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"nobody listens": func(*testing.T) string { return "redis://:" + password + "@127.0.0.1:1/0" },
		"wrong password": func(t *testing.T) string {
			return "redis://:" + password + "@" + redistest.Start(t, "--requirepass", "other").Addr + "/0"
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
