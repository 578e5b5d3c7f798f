package redislock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
)

var _ locker.Inspector = (*driver)(nil)

// A found is what the server knows of a lock.
type found struct {
	waiters int
	held    bool
	holder  hint
}

// A hint is a value of the holder key, see lua/common.lua.
type hint struct {
	sid, token, client, pid, host string
	since                         int64 // microseconds of Unix time
}

// parseHint parses a value of the holder key, or a session's id alone.
func parseHint(value string) hint {
	f := strings.Fields(value)
	if len(f) == 1 {
		return hint{sid: f[0]}
	}
	f = append(f, "", "", "", "", "", "", "", "", "")
	since, _ := strconv.ParseInt(f[4], 10, 64)
	return hint{sid: f[0], token: f[1], client: f[5], pid: f[7], host: f[8], since: since}
}

// forPeople returns what h says.
func (h hint) forPeople() locker.Holder {
	unknown := func(s string) string { return strings.TrimPrefix(s, "-") }
	holder := locker.Holder{ID: h.sid, Host: unknown(h.host)}
	holder.PID, _ = strconv.Atoi(unknown(h.pid))
	holder.Token, _ = strconv.ParseUint(h.token, 10, 64)
	if h.since > 0 {
		holder.Since = time.UnixMicro(h.since)
	}
	return holder
}

// Inspect implements locker.Inspector. It costs one round trip.
func (d *driver) Inspect(ctx context.Context, name string) (locker.Info, error) {
	return within(ctx, d, func() (locker.Info, error) {
		info := locker.Info{Name: name}
		err := d.on(ctx, name, func(n *node) error {
			f, err := n.inspect(ctx, n.channelOf(name))
			info.Held, info.Waiters = f.held, f.waiters
			if f.held {
				info.Holder = f.holder.forPeople()
			}
			return err
		})
		return info, err
	})
}

// within returns what fn does, or when ctx ends: go-redis heeds no more of ctx than its
// deadline, if that. What fn has begun ends within the time limits of the client.
func within[T any](ctx context.Context, d *driver, fn func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	ended := make(chan outcome, 1)
	d.running.Go(func() {
		value, err := fn()
		ended <- outcome{value, err}
	})
	select {
	case o := <-ended:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// on calls fn with the node that has a lock.
func (d *driver) on(ctx context.Context, name string, fn func(*node) error) error {
	if d.cluster == nil {
		return fn(d.only)
	}
	return d.cluster.on(ctx, name, fn)
}

// inspect tells who holds a lock.
func (n *node) inspect(ctx context.Context, channel string) (found, error) {
	if ctx.Err() != nil {
		return found{}, ctx.Err()
	}
	var text string
	err := n.atPrimary(func() (err error) {
		text, err = n.eval(inspectScript, n.keysOf(channel), []string{channel})
		return err
	})
	if err != nil {
		return found{}, err
	}
	words := strings.SplitN(text, " ", 3)
	waiters, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 2 {
		return found{}, fmt.Errorf("%w: %q from a script", errProtocol, text)
	}
	f := found{waiters: waiters, held: words[1] == "held"}
	if f.held && len(words) == 3 {
		f.holder = parseHint(words[2])
	}
	return f, nil
}
