package redislock

import (
	"context"
	"iter"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// Names implements locker.Inspector. A holder that is not of this library has left no
// hint, and its lock is not named.
func (d *driver) Names(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		servers, err := d.topology.primaries(ctx)
		seen := make(map[string]bool) // SCAN may tell of a key more than once
		for i := 0; i < len(servers) && err == nil; i++ {
			var more bool
			if more, err = names(ctx, servers[i], seen, yield); !more && err == nil {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// names yields the names of the locks that are held at a server, and reports whether more
// are wanted.
func names(ctx context.Context, s *server.Server, seen map[string]bool, yield func(string, error) bool) (more bool, err error) {
	for cursor := uint64(0); ; {
		from := cursor // the step may go on when ctx has ended
		part, err := server.Within(ctx, s.Env, func() (part step, err error) {
			err = s.AtPrimary(func() error {
				part, err = scan(ctx, s, from)
				return err
			})
			return part, err
		})
		if err != nil {
			return false, err
		}
		for _, channel := range part.held {
			name, ok := s.Scheme.Name(channel)
			if !ok || seen[name] {
				continue
			}
			seen[name] = true
			if !yield(name, nil) {
				return false, nil
			}
		}
		if cursor = part.cursor; cursor == 0 {
			return true, nil
		}
	}
}

// A step is a part of the keys.
type step struct {
	cursor uint64   // of the next; 0: there is none
	held   []string // channels of locks that are held
}

// scan returns the part that begins at a cursor.
func scan(ctx context.Context, s *server.Server, cursor uint64) (step, error) {
	const size = 100
	if cursor == 0 && s.IsReplica(ctx) { // which has the keys, and knows nothing of who is subscribed
		return step{}, server.ErrReplica
	}
	keys, next, err := s.Client().Scan(ctx, cursor, "*"+protocol.KeyHolder, size).Result()
	if err != nil {
		return step{}, resp.Plainly(err)
	}
	held, err := heldOf(ctx, s, keys)
	return step{next, held}, err
}

// heldOf returns the channels of those locks that are held, of those whose hints keys are.
func heldOf(ctx context.Context, s *server.Server, keys []string) (channels []string, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	values, _ := s.Client().Pipelined(ctx, func(p redis.Pipeliner) error { // whose errors are those of its commands
		for _, key := range keys { // MGET of one, as they may be in several slots, and of any type
			p.MGet(ctx, key)
		}
		return nil
	})
	var holders, on []string // channels, and hold channels
	for i, v := range values {
		answer, err := v.(*redis.SliceCmd).Result()
		if resp.IsKeyDenied(err) {
			continue // a lock that the user may not have
		}
		if err != nil {
			return nil, resp.Plainly(err)
		}
		value, _ := answer[0].(string)
		channel := strings.TrimSuffix(keys[i], protocol.KeyHolder)
		if h := protocol.ParseHint(value); h.Holds() {
			holders = append(holders, channel)
			on = append(on, protocol.HoldChannel(channel, h.SID))
		}
	}
	if len(holders) == 0 {
		return nil, nil
	}
	live, err := s.Subscribers(ctx, on...)
	for i, channel := range holders {
		if live[on[i]] > 0 {
			channels = append(channels, channel)
		}
	}
	return channels, err
}
