package lockurl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/memlock"
	"github.com/golocker/locker/redislock"
)

// examples are the accepted forms, by scheme.
var examples = map[string]string{ //nolint:gosec // they hold no password
	"redis":           "redis://user:password@host:6379/0",
	"rediss":          "rediss://user:password@host:6379/0",
	"unix":            "unix://user:password@/run/redis.sock?db=0",
	"redis+sentinel":  "redis+sentinel://host:26379/0?master_name=NAME",
	"rediss+sentinel": "rediss+sentinel://host:26379/0?master_name=NAME",
	"redis+cluster":   "redis+cluster://user:password@host:6379",
	"rediss+cluster":  "rediss+cluster://user:password@host:6379",
	"file":            "file:///directory",
	"mem":             "mem://NAME",
}

// parse returns the backend of a URL, for locks with options that those of the URL win
// over. Its errors name the URL without what may be
// secret, what is wrong with it, and the form that is accepted.
func parse(text string, opts []locker.Option) (*backend, error) {
	scheme, _, _ := strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	example, known := examples[scheme]
	if !known {
		if strings.ContainsAny(scheme, "/@ ") || len(scheme) == len(text) {
			scheme = ""
		}
		return nil, fmt.Errorf("%w URL: the scheme %q is unknown; want one like %s (or %s)", locker.ErrInvalid, scheme, examples["redis"],
			strings.Join(slices.Sorted(maps.Keys(examples)), ", "))
	}
	shown := scheme + "://..."
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w URL %s: %s; want one like %s", locker.ErrInvalid, shown, fmt.Sprintf(format, args...), example)
	}
	u, err := url.Parse(text)
	if err != nil || strings.Contains(u.Path, "@") { // the reason may quote the password
		return nil, invalid("it cannot be parsed (is there a character in the password that has to be percent-encoded?)")
	}
	if !strings.HasPrefix(text[len(scheme):], "://") {
		return nil, invalid("there is no // after the scheme")
	}
	if u.Fragment != "" {
		return nil, invalid("it has a fragment (is there a # in the password that has to be percent-encoded?)")
	}
	shown = scheme + "://" + u.Host + u.Path
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil { // it may quote a password
		return nil, invalid("its options cannot be parsed (is there one that has to be percent-encoded, or a ; for a &?)")
	}
	p := &parameters{values: values}
	opts = append(slices.Clone(opts), acquireOptions(p)...)
	b := &backend{shown: shown}
	switch scheme {
	case "mem":
		if u.Host == "" || u.Path != "" || u.User != nil {
			return nil, invalid("it has to be a name alone")
		}
		b.open = func(context.Context) (locker.Locker, error) { return memory(u.Host).With(opts...), nil }
	case "file":
		if u.Host != "" || u.User != nil {
			return nil, invalid("the directory has to be absolute, after three slashes")
		}
		dir := filepath.FromSlash(u.Path)
		if runtime.GOOS == "windows" {
			dir = strings.TrimPrefix(dir, `\`) // of \C:\directory
		}
		if !filepath.IsAbs(dir) {
			return nil, invalid("the directory has to be absolute, after three slashes")
		}
		b.open = func(context.Context) (locker.Locker, error) { return files(dir, opts) }
	default:
		if u.Host == "" && scheme != "unix" {
			return nil, invalid("it has no host")
		}
		o := redisOptions(p)
		rest := *u
		rest.RawQuery = p.values.Encode()
		open, err := redisOpener(&rest)
		if err != nil {
			return nil, invalid("%s (the options are those of go-redis, and %s)", strings.TrimPrefix(err.Error(), "redis: "),
				strings.Join(slices.Concat(acquireNames, redisNames), ", "))
		}
		b.open = func(ctx context.Context) (locker.Locker, error) { return open(ctx, o, opts) }
		p.values = nil // go-redis has looked at the rest
	}
	if p.err != nil {
		return nil, invalid("%v", p.err)
	}
	if rest := slices.Sorted(maps.Keys(p.values)); len(rest) > 0 {
		return nil, invalid("unknown option %s (the options are %s)", strings.Join(rest, ", "), strings.Join(acquireNames, ", "))
	}
	return b, nil
}

func files(dir string, opts []locker.Option) (locker.Locker, error) {
	l, err := filelock.New(dir, opts...)
	if errors.Is(err, locker.ErrUnavailable) && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// memories are the locks in memory, by name. They are kept: the program may open them
// again.
var memories = struct {
	sync.Mutex
	byName map[string]*memlock.Locker
}{byName: make(map[string]*memlock.Locker)}

func memory(name string) *memlock.Locker {
	memories.Lock()
	defer memories.Unlock()
	l := memories.byName[name]
	if l == nil {
		l = memlock.New()
		memories.byName[name] = l
	}
	return l
}

// parameters are those of a URL. What is taken is no longer in them.
type parameters struct {
	values url.Values
	err    error // the first
}

// take returns a parameter, and whether it was there.
func (p *parameters) take(name string) (string, bool) {
	all, ok := p.values[name]
	if !ok {
		return "", false
	}
	delete(p.values, name)
	if len(all) > 1 && p.err == nil {
		p.err = fmt.Errorf("option %s is there %d times", name, len(all))
	}
	return all[0], true
}

func (p *parameters) duration(name string) (time.Duration, bool) {
	text, ok := p.take(name)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if (err != nil || d < 0) && p.err == nil {
		p.err = fmt.Errorf("option %s=%q: it must be a duration like 1.5s, and not negative", name, text)
	}
	return d, true
}

func (p *parameters) bool(name string) (value, ok bool) {
	text, ok := p.take(name)
	if !ok {
		return false, false
	}
	value, err := strconv.ParseBool(text)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("option %s=%q is neither true nor false", name, text)
	}
	return value, true
}

// The options that are not go-redis'.
var (
	acquireNames = []string{"timeout", "check_interval", "fail_when_locked"}
	redisNames   = []string{"unavailable_timeout", "settle_time", "health_check_interval", "portalocker_names"}
)

func acquireOptions(p *parameters) (opts []locker.Option) {
	if p.values.Get("timeout") == "none" {
		_, _ = p.take("timeout")
		opts = append(opts, locker.WithTimeout(locker.NoTimeout))
	} else if d, ok := p.duration("timeout"); ok {
		opts = append(opts, locker.WithTimeout(d))
	}
	if d, ok := p.duration("check_interval"); ok {
		if d == 0 && p.err == nil {
			p.err = errors.New("option check_interval must be positive")
		}
		opts = append(opts, locker.WithCheckInterval(d))
	}
	if fail, ok := p.bool("fail_when_locked"); ok {
		opts = append(opts, locker.WithFailWhenLocked(fail))
	}
	return opts
}

func redisOptions(p *parameters) (o redislock.Options) {
	for name, value := range map[string]*time.Duration{
		"unavailable_timeout":   &o.UnavailableTimeout,
		"settle_time":           &o.SettleTime,
		"health_check_interval": &o.HealthCheckInterval,
	} {
		*value, _ = p.duration(name)
	}
	o.PortalockerNames, _ = p.bool("portalocker_names")
	return o
}
