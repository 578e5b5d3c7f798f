package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golocker/locker/internal/redistest"
)

const secret = "s3cret-p4ss"

// A URL that cannot be used is one line, which names the fault and the form that is
// accepted, and never a password.
func TestBadURLs(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "another")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() }) // it accepts connections, and says nothing
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const likeRedis = "redis://user:password@host:6379/0"
	p := newPlace(t, "")
	for _, tt := range []struct {
		name, url  string
		status     int
		says, form string
	}{
		{"no scheme", "locks", 2, "the scheme", likeRedis},
		{"an unknown scheme", "http://user:" + secret + "@host", 2, `"http"`, likeRedis},
		{"an unknown option", "redis://user:" + secret + "@host?bogus=1", 2, "bogus", likeRedis},
		{"an unknown option of files", "file:///locks?linger=1s", 2, "linger", "file:///directory"},
		{"an option that makes no sense", "redis://user:" + secret + "@host?timeout=soon", 2, "soon", likeRedis},
		{"no directory", "file://", 2, "the directory", "file:///directory"},
		{"a relative directory", "file://locks", 2, "the directory", "file:///directory"},
		{"a file for a directory", "file://" + filepath.ToSlash(file), 2, "not a directory", "file:///directory"},
		{"a directory that cannot be made", "file://" + filepath.ToSlash(file) + "/locks", 69, file, "file:///directory"},
		{"an unescaped password", "redis://user:" + secret + "#1@host", 2, "percent-encoded", likeRedis},
		{"a wrong password", "redis://:" + secret + "@" + s.Addr, 69, "WRONGPASS", likeRedis},
		{"no password", "redis://" + s.Addr, 69, "NOAUTH", likeRedis},
		{"a host that does not resolve", "redis://user:" + secret + "@no-such-host.invalid:6379?max_retries=-1", 69, "no-such-host.invalid", likeRedis},
		{"nobody listens", "redis://user:" + secret + "@127.0.0.1:1?max_retries=-1", 69, "127.0.0.1:1", likeRedis},
		{"nobody answers", "redis://user:" + secret + "@" + silent.Addr().String() + "?dial_timeout=100ms&read_timeout=100ms&max_retries=-1", 69, silent.Addr().String(), likeRedis},
		{"two of which the second is invalid", "file:///locks bogus://", 2, "bogus", likeRedis},
		{"two that do not answer", "redis://user:" + secret + "@127.0.0.1:1?max_retries=-1 redis://127.0.0.1:2?max_retries=-1", 69, "127.0.0.1:2", likeRedis},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // some take seconds, as go-redis tries again
			for _, args := range [][]string{
				{"run", "--url", tt.url, "x", "--", os.Args[0]},
				{"--url", tt.url, "status"},
				{"break", "--yes", "x", "--url=" + tt.url},
				{"check", "--url", tt.url},
			} {
				r := p.run(args...)
				r.wantLine(t, tt.status, tt.says)
				r.want(t, tt.status, "", tt.form)
				if strings.Contains(r.stderr, secret) {
					t.Errorf("%q shows the password: %s", args, r.stderr)
				}
			}
		})
	}
}

// The locks are at the first URL that answers, and a line says so if that is not the
// first one.
func TestFallback(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "redis://user:"+secret+"@127.0.0.1:1?max_retries=-1 mem://x")
	r := p.run("status", "x")
	r.want(t, 0, "free", "mem://x")
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "locker: ") || strings.Contains(r.stderr, secret) {
		t.Errorf("%q; want one line without the password", r.stderr)
	}
	if r := p.run("status", "--quiet", "x"); !strings.Contains(r.stderr, "not where they are wanted first") {
		t.Errorf("%q", r.stderr)
	}
	p.run("check").want(t, 0, "mem://x", "")
}

// An empty LOCKER_URL, as where a secret is missing, is not the default.
func TestEmptyURL(t *testing.T) {
	p := newPlace(t, " ")
	p.run("run", "x", "--", "true").wantLine(t, 2, "LOCKER_URL is empty")
	p.run("--url", "mem://x", "status", "x").want(t, 0, "free", "")
}
