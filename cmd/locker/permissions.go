package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

const (
	redisSingle   = "Redis"
	redisSentinel = "Redis by Sentinel"
	redisCluster  = "Redis Cluster"
)

// redisKind returns how a URL connects to Redis, and whether it does.
func redisKind(u string) (kind string, ok bool) {
	scheme, _, _ := strings.Cut(strings.ToLower(u), ":")
	scheme, suffix, _ := strings.Cut(scheme, "+")
	switch {
	case scheme != "redis" && scheme != "rediss" && scheme != "unix":
		return "", false
	case suffix == "sentinel":
		return redisSentinel, true
	case suffix == "cluster":
		return redisCluster, true
	default:
		return redisSingle, true
	}
}

// redisClient returns a client for a URL that package lockurl has accepted.
func redisClient(text, kind string) (*redis.Client, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	values := u.Query()
	for _, own := range []string{"timeout", "check_interval", "fail_when_locked", "unavailable_timeout", "settle_time", "health_check_interval", "portalocker_names"} {
		values.Del(own)
	}
	u.RawQuery = values.Encode()
	u.Scheme, _, _ = strings.Cut(u.Scheme, "+")
	if kind == redisSentinel {
		o, err := redis.ParseFailoverURL(u.String())
		if err != nil {
			return nil, errors.New("the URL cannot be parsed")
		}
		return redis.NewFailoverClient(o), nil
	}
	o, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	return redis.NewClient(o), nil
}

// A probe is a command that is tried, as it is permitted or not.
type probe struct {
	permission string // as in an ACL rule
	without    string // what is missing without it, if it can be done without
	args       []any  // nothing: it is part of another one's
}

// probes returns commands that change nothing but a key of their own, which they delete
// again. A script needs the same permissions as its commands do outside of it.
func probes(name string) []probe {
	const nobody = math.MaxInt64 // no connection has that id
	const hungHolders = "a holder that hangs keeps its lock"
	key := name + ":locker:probe"
	return []probe{
		{"info", "after a restart of Redis, or a failover, a lock is free as soon as after the crash of its holder", []any{"INFO", "server"}},
		{"ping", "an idle connection is not checked", []any{"PING"}},
		{"client|id", "", []any{"CLIENT", "ID"}},
		{"client|setname", "", []any{"CLIENT", "SETNAME", "locker:check"}},
		{"client|list", hungHolders, []any{"CLIENT", "LIST", "ID", nobody}},
		{"client|kill", hungHolders, []any{"CLIENT", "KILL", "ID", nobody}},
		{"publish", "", []any{"PUBLISH", name + ":h:probe", ""}},
		{"pubsub|numsub", "", []any{"PUBSUB", "NUMSUB", name}},
		{"pubsub|channels", "", []any{"PUBSUB", "CHANNELS", name}},
		{"eval", "", []any{"EVAL", "return 1", 1, key}},
		{"evalsha", "", []any{"EVALSHA", strings.Repeat("0", 40), 1, key}}, // there is none: NOSCRIPT
		{"time", "", []any{"TIME"}},
		{"scan", "locker status has to be told which locks to show", []any{"SCAN", 0, "COUNT", 1}},
		{"mget", "", []any{"MGET", key}},
		{"exists", "", []any{"EXISTS", key}},
		{"rpush", "", []any{"RPUSH", key, "probe"}},
		{"lrange", "", []any{"LRANGE", key, 0, 0}},
		{"lindex", "", []any{"LINDEX", key, 0}},
		{"lpos", "", []any{"LPOS", key, "none"}},
		{"ttl", "", []any{"TTL", key}},
		{"lrem", "", []any{"LREM", key, 1, "none"}},
		{"lpop", "", []any{"LPOP", key}},
		{"set", "", []any{"SET", key, "probe", "EX", 1}},
		{"set", "", []any{"SET", "locker:session:probe", "probe", "EX", 1}},
		{"expire", "", []any{"EXPIRE", key, 1}},
		{"del", "", []any{"DEL", key}},
	}
}

// permissions tells which of the permissions that locks need are denied. It returns an
// error if one is that they cannot do without.
func (r *report) permissions(ctx context.Context, u, kind, name string) error {
	if kind == redisCluster {
		r.line("permissions", "in a Cluster no more is known than that the test lock has, or has not, worked")
		return nil
	}
	client, err := redisClient(u, kind)
	if err != nil {
		r.line("permissions", "not known: "+err.Error())
		return nil
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var missing, optional []string
	unknown := false
	tell := func(p probe, err error) {
		why, denied := denial(p.permission, err)
		switch {
		case !denied && err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") && !errors.Is(err, redis.Nil):
			unknown = true
			r.line("permissions", fmt.Sprintf("%s: not known: %v", p.permission, err))
		case denied && p.without != "":
			optional = append(optional, fmt.Sprintf("%s; without it, %s", why, p.without))
		case denied:
			missing = append(missing, why)
		}
	}
	for _, p := range probes(name) {
		tell(p, client.Do(ctx, p.args...).Err())
	}
	for _, channel := range []string{name, name + ":h:probe", name + ":w:probe", "locker:session:probe"} {
		subscribe, unsubscribe := subscription(ctx, client, channel)
		tell(probe{permission: "subscribe"}, subscribe)
		tell(probe{permission: "unsubscribe"}, unsubscribe)
	}
	slices.Sort(missing)
	missing = slices.Compact(missing) // the same keys and channels are denied to many
	for _, m := range missing {
		r.line("missing", m)
	}
	for _, o := range optional {
		r.line("missing, optional", o)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: permissions are missing on Redis: %s", locker.ErrUnavailable, strings.Join(missing, "; "))
	}
	if len(optional) == 0 && !unknown {
		r.line("permissions", "all that locks need")
	}
	return nil
}

// denial returns why Redis has refused a command, if it is for good. Redis 6.2 names the
// command without its subcommand.
func denial(permission string, err error) (why string, denied bool) {
	if err == nil {
		return "", false
	}
	text, _, _ := strings.Cut(err.Error(), ", with args")
	switch {
	case strings.Contains(text, "unknown command"), strings.Contains(text, "unknown subcommand"): // after a rename-command
		return text, true
	case !redis.HasErrorPrefix(err, "NOPERM"):
		return "", false
	case strings.Contains(text, "permissions to access "): // a key or a channel, in the words of the server's version
		return text + " (do all names of locks begin alike? then --prefix has to say so)", true
	case !strings.Contains(text, "'"+permission+"'"):
		return text + " ('" + permission + "')", true
	default:
		return text, true
	}
}

// subscription subscribes to a channel, and unsubscribes.
func subscription(ctx context.Context, client *redis.Client, channel string) (subscribe, unsubscribe error) {
	s := client.Subscribe(ctx)
	defer func() { _ = s.Close() }()
	if err := s.Subscribe(ctx, channel); err != nil {
		return err, nil
	}
	if _, err := s.Receive(ctx); err != nil {
		return err, nil
	}
	if err := s.Unsubscribe(ctx, channel); err != nil {
		return nil, err
	}
	_, err := s.Receive(ctx)
	return nil, err
}
