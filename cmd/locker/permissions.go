package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redisacl"
)

// permissions tells which of the permissions that locks need are denied. It returns an
// error if one is that they cannot do without.
func (r *report) permissions(ctx context.Context, client redis.UniversalClient, name string) error {
	if _, ok := client.(*redis.ClusterClient); ok {
		r.line("permissions", "in a Cluster no more is known than that the test lock has, or has not, worked")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var missing, optional []string
	unknown := false
	tell := func(p redisacl.Permission, err error) {
		why, denied := denial(p.Name, err)
		switch {
		case !denied && err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") && !errors.Is(err, redis.Nil):
			unknown = true
			r.line("permissions", fmt.Sprintf("%s: not known: %v", p.Name, err))
		case denied && p.Without != "":
			optional = append(optional, fmt.Sprintf("%s; without it, %s", why, p.Without))
		case denied:
			missing = append(missing, why)
		}
	}
	for _, p := range redisacl.Permissions() {
		for _, args := range p.Probes(name) {
			tell(p, client.Do(ctx, args...).Err())
		}
	}
	for _, channel := range []string{name, name + ":h:probe", name + ":w:probe", "locker:session:probe"} {
		subscribe, unsubscribe := subscription(ctx, client, channel)
		tell(redisacl.Permission{Name: "subscribe"}, subscribe)
		tell(redisacl.Permission{Name: "unsubscribe"}, unsubscribe)
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
func subscription(ctx context.Context, client redis.UniversalClient, channel string) (subscribe, unsubscribe error) {
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
