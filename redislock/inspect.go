package redislock

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
)

var _ locker.Inspector = (*driver)(nil)

// Inspect implements locker.Inspector. It costs one round trip.
func (d *driver) Inspect(ctx context.Context, name string) (locker.Info, error) {
	return server.Within(ctx, d.env, func() (locker.Info, error) {
		info := locker.Info{Name: name}
		err := d.topology.at(ctx, name, func(s *server.Server) error {
			found, err := inspect(ctx, s, name)
			info.Held, info.Waiters = found.Held, found.Waiters
			if found.Held {
				info.Holder = holderIn(found.Holder)
			}
			return err
		})
		return info, err
	})
}

// inspect tells who holds a lock.
func inspect(ctx context.Context, s *server.Server, name string) (protocol.InspectAnswer, error) {
	if ctx.Err() != nil {
		return protocol.InspectAnswer{}, ctx.Err()
	}
	var text string
	err := s.AtPrimary(func() (err error) {
		text, err = s.Eval(protocol.Inspect{Channel: s.Scheme.Channel(name)}.In(s.Scheme))
		return err
	})
	if err != nil {
		return protocol.InspectAnswer{}, err
	}
	return protocol.ParseInspect(text)
}

// holderIn returns what a hint says.
func holderIn(h protocol.Hint) locker.Holder {
	unknown := func(s string) string { return strings.TrimPrefix(s, "-") }
	holder := locker.Holder{ID: h.SID, Host: unknown(h.Host)}
	holder.PID, _ = strconv.Atoi(unknown(h.PID))
	holder.Token, _ = strconv.ParseUint(h.Token, 10, 64)
	if h.Since > 0 {
		holder.Since = time.UnixMicro(h.Since)
	}
	return holder
}
