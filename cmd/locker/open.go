package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/lockurl"
)

// open returns the locks that --url names.
func (p *program) open(ctx context.Context, opts ...locker.Option) (locker.Locker, error) {
	c, err := p.choose(ctx, opts...)
	return c.Locker, err
}

// choose opens the locks that --url names, and says which URL they are of. Its errors are
// for people, in one line.
func (p *program) choose(ctx context.Context, opts ...locker.Option) (lockurl.Choice, error) {
	urls, err := p.urls()
	if err != nil {
		return lockurl.Choice{}, err
	}
	log := slog.New(&plainLog{program: p})
	slog.SetDefault(log) // lockurl tells there which URLs it has passed over
	redis.SetLogger(silent{})
	c, err := lockurl.Choose(ctx, append([]locker.Option{locker.WithLogger(log)}, opts...), urls...)
	switch {
	case errors.Is(err, locker.ErrUnavailable):
		err = fmt.Errorf("%w; want a URL of locks that can be reached, like %s", err, form(urls[0]))
	case errors.Is(err, locker.ErrInvalid) && !strings.Contains(err.Error(), "want one like"):
		err = fmt.Errorf("%w; want a URL like %s", err, form(urls[0]))
	}
	return c, err
}

// form returns an example of a URL like the given one.
func form(u string) string {
	if strings.HasPrefix(u, "file:") {
		return "file:///directory"
	}
	return "redis://user:password@host:6379/0"
}

// urls returns the URLs of the locks.
func (p *program) urls() ([]string, error) {
	if text, set := os.LookupEnv("LOCKER_URL"); set && strings.TrimSpace(text) == "" && p.url == text {
		// As where a secret is missing: locks elsewhere would exclude nobody.
		return nil, usage("LOCKER_URL is empty; want one like redis://user:password@host:6379/0, or unset it for files of this user")
	}
	if urls := strings.Fields(p.url); len(urls) > 0 {
		return urls, nil
	}
	dir, err := stateDirectory()
	if err != nil {
		return nil, usage("there is neither --url nor LOCKER_URL, and no directory for files (%v); want --url file:///directory, or --url redis://user:password@host:6379/0", err)
	}
	dir = filepath.ToSlash(dir)
	if !strings.HasPrefix(dir, "/") {
		dir = "/" + dir // C:/Users
	}
	return []string{(&url.URL{Scheme: "file", Path: dir}).String()}, nil
}

// stateDirectory returns where files of locks are, if nothing else is said.
func stateDirectory() (string, error) {
	const name = "locker"
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name), nil
	}
	var dir string
	var err error
	switch runtime.GOOS {
	case "windows":
		dir, err = os.UserCacheDir() // %LocalAppData%: it stays on the machine
	case "darwin", "ios":
		dir, err = os.UserConfigDir() // ~/Library/Application Support
	default:
		if dir, err = os.UserHomeDir(); err == nil {
			dir = filepath.Join(dir, ".local", "state")
		}
	}
	if err == nil && !filepath.IsAbs(dir) {
		err = fmt.Errorf("%q is not an absolute path", dir)
	}
	return filepath.Join(dir, name), err
}

// A plainLog is a slog.Handler that tells warnings in plain lines.
type plainLog struct {
	program *program
	attrs   []slog.Attr
}

// messageLost is what the library logs when a lock is lost, which run tells itself.
const messageLost = "lock lost"

// Enabled implements slog.Handler.
func (l *plainLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

// Handle implements slog.Handler.
func (l *plainLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == messageLost {
		return nil
	}
	text := r.Message
	separator := ": "
	add := func(a slog.Attr) bool {
		text += separator + a.Key + " " + a.Value.String()
		separator = ", "
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	l.program.say("%s", text)
	return nil
}

// WithAttrs implements slog.Handler.
func (l *plainLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &plainLog{l.program, append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...)}
}

// WithGroup implements slog.Handler. The library uses no groups.
func (l *plainLog) WithGroup(string) slog.Handler { return l }

// silent is a log of go-redis that tells nothing: what matters is in the errors.
type silent struct{}

// Printf implements the log of go-redis.
func (silent) Printf(context.Context, string, ...any) {}
