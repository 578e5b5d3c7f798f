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
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/memlock"
)

// A scheme is one kind of URL.
type scheme struct {
	example string   // of a URL that is accepted
	backend string   // as in a [locker.Error]
	options []option // of this package; the URL that parse gets is without them
	parse   func(u *url.URL) (opener, error)
}

// An opener opens what a URL names, and leaves URL and Backend of the Choice to parse.
type opener func(context.Context, settings) (Choice, error)

var schemes = map[string]scheme{
	"redis":           {"redis://user:password@host:6379/0", "redis", redisOptions, onRedis(redis.ParseURL, single)},
	"rediss":          {"rediss://user:password@host:6379/0", "redis", redisOptions, onRedis(redis.ParseURL, single)},
	"unix":            {"unix://user:password@/run/redis.sock?db=0", "redis", redisOptions, onRedis(redis.ParseURL, single)},
	"redis+sentinel":  {"redis+sentinel://host:26379/0?master_name=NAME", "redis", redisOptions, onRedis(parseSentinel, sentinel)},
	"rediss+sentinel": {"rediss+sentinel://host:26379/0?master_name=NAME", "redis", redisOptions, onRedis(parseSentinel, sentinel)},
	"redis+cluster":   {"redis+cluster://user:password@host:6379", "redis", redisOptions, onRedis(redis.ParseClusterURL, cluster)},
	"rediss+cluster":  {"rediss+cluster://user:password@host:6379", "redis", redisOptions, onRedis(redis.ParseClusterURL, cluster)},
	"file":            {"file:///directory", "file", acquireOptions, files},
	"mem":             {"mem://NAME", "memory", acquireOptions, memory},
}

// parse returns the backend of a URL, for locks with options that those of the URL win
// over. Its errors name the URL without what may be secret, what is wrong with it, and the
// form that is accepted.
func parse(text string, opts []locker.Option) (*backend, error) {
	name, _, _ := strings.Cut(text, ":")
	name = strings.ToLower(name)
	s, known := schemes[name]
	if !known {
		if strings.ContainsAny(name, "/@ ") || len(name) == len(text) {
			name = ""
		}
		return nil, fmt.Errorf("%w URL: the scheme %q is unknown; want one like %s (or %s)", locker.ErrInvalid, name, schemes["redis"].example,
			strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	}
	shown := name + "://..."
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w URL %s: %s; want one like %s", locker.ErrInvalid, shown, fmt.Sprintf(format, args...), s.example)
	}
	u, err := url.Parse(text)
	if err != nil || strings.Contains(u.Path+strings.Join(slices.Collect(maps.Keys(u.Query())), ""), "@") { // the reason may quote the password
		return nil, invalid("it cannot be parsed (is there a character in the password that has to be percent-encoded?)")
	}
	if !strings.HasPrefix(text[len(name):], "://") {
		return nil, invalid("there is no // after the scheme")
	}
	if u.Fragment != "" {
		return nil, invalid("it has a fragment (is there a # in the password that has to be percent-encoded?)")
	}
	shown = name + "://" + u.Host + u.Path
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil { // it may quote a password
		return nil, invalid("its options cannot be parsed (is there one that has to be percent-encoded, or a ; for a &?)")
	}
	set := settings{acquire: slices.Clone(opts)}
	if err := set.take(s.options, values); err != nil {
		return nil, invalid("%v", err)
	}
	if rest := slices.Sorted(maps.Keys(values)); len(rest) > 0 && s.backend != "redis" {
		return nil, invalid("unknown option %s (the options are %s)", strings.Join(rest, ", "), names(s.options))
	}
	u.RawQuery = values.Encode()
	open, err := s.parse(u)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return &backend{shown, func(ctx context.Context) (Choice, error) {
		c, err := open(ctx, set)
		c.URL, c.Backend = shown, s.backend
		return c, err
	}}, nil
}

func files(u *url.URL) (opener, error) {
	dir := filepath.FromSlash(u.Path)
	if runtime.GOOS == "windows" {
		dir = strings.TrimPrefix(dir, `\`) // of \C:\directory
	}
	if u.Host != "" || u.User != nil || !filepath.IsAbs(dir) {
		return nil, errors.New("the directory has to be absolute, after three slashes")
	}
	return func(_ context.Context, s settings) (Choice, error) {
		l, err := filelock.New(dir, s.acquire...)
		if errors.Is(err, locker.ErrUnavailable) && !errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: %w", errSilent, err)
		}
		return Choice{Locker: l}, err
	}, nil
}

// memories are the locks in memory, by name. They are kept: the program may open them
// again.
var memories = struct {
	sync.Mutex
	byName map[string]*memlock.Locker
}{byName: make(map[string]*memlock.Locker)}

func memory(u *url.URL) (opener, error) {
	if u.Host == "" || u.Path != "" || u.User != nil {
		return nil, errors.New("it has to be a name alone")
	}
	return func(_ context.Context, s settings) (Choice, error) {
		memories.Lock()
		defer memories.Unlock()
		l := memories.byName[u.Host]
		if l == nil {
			l = memlock.New()
			memories.byName[u.Host] = l
		}
		return Choice{Locker: l.With(s.acquire...)}, nil
	}, nil
}
