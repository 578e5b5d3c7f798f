package redislock

import (
	"context"
	"iter"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Names implements locker.Inspector. A holder that is not of this library has left no
// hint, and its lock is not named.
func (d *driver) Names(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		nodes, err := d.primaries(ctx)
		seen := make(map[string]bool) // SCAN may tell of a key more than once
		for i := 0; i < len(nodes) && err == nil; i++ {
			var more bool
			if more, err = nodes[i].names(ctx, seen, yield); !more && err == nil {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// names yields the names of the locks that are held on a node, and reports whether more
// are wanted.
func (n *node) names(ctx context.Context, seen map[string]bool, yield func(string, error) bool) (more bool, err error) {
	for cursor := uint64(0); ; {
		from := cursor // the step may go on when ctx has ended
		s, err := within(ctx, n.driver, func() (s step, err error) {
			err = n.atPrimary(func() error {
				s, err = n.step(ctx, from)
				return err
			})
			return s, err
		})
		if err != nil {
			return false, err
		}
		for _, channel := range s.held {
			name, ok := n.nameOf(channel)
			if !ok || seen[name] {
				continue
			}
			seen[name] = true
			if !yield(name, nil) {
				return false, nil
			}
		}
		if cursor = s.cursor; cursor == 0 {
			return true, nil
		}
	}
}

// A step is a part of the keys.
type step struct {
	cursor uint64   // of the next; 0: there is none
	held   []string // channels of locks that are held
}

func (n *node) step(ctx context.Context, cursor uint64) (step, error) {
	const size = 100
	if cursor == 0 { // a replica has the keys, and knows nothing of who is subscribed
		if info, err := n.client().Info(ctx, "replication").Result(); err == nil && field(info, "role") == "slave" {
			return step{}, errReplica
		}
	}
	keys, next, err := n.client().Scan(ctx, cursor, "*"+keyHolder, size).Result()
	if err != nil {
		return step{}, plainly(err)
	}
	held, err := n.held(ctx, keys)
	return step{next, held}, err
}

// held returns the channels of those locks that are held, of those whose hints keys are.
func (n *node) held(ctx context.Context, keys []string) (channels []string, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	values, _ := n.client().Pipelined(ctx, func(p redis.Pipeliner) error { // whose errors are those of its commands
		for _, key := range keys { // MGET of one, as they may be in several slots, and of any type
			p.MGet(ctx, key)
		}
		return nil
	})
	var holders []string // their hold channels
	for i, v := range values {
		answer, err := v.(*redis.SliceCmd).Result()
		if isKeyDenied(err) {
			continue // a lock that the user may not have
		}
		if err != nil {
			return nil, plainly(err)
		}
		value, _ := answer[0].(string)
		channel := strings.TrimSuffix(keys[i], keyHolder)
		if h := parseHint(value); isSessionID(h.sid) && h.token != "0" {
			holders = append(holders, channel+":h:"+h.sid)
		}
	}
	if len(holders) == 0 {
		return nil, nil
	}
	count := n.client().PubSubNumSub
	if n.shard != nil {
		count = n.client().PubSubShardNumSub
	}
	live, err := count(ctx, holders...).Result()
	if err != nil {
		return nil, plainly(err)
	}
	for _, on := range holders {
		if live[on] > 0 {
			channels = append(channels, on[:len(on)-len(":h:")-32])
		}
	}
	return channels, nil
}

// nameOf returns the name of the lock whose channel it is.
func (n *node) nameOf(channel string) (string, bool) {
	if n.shard == nil {
		return channel, true
	}
	return clusterName(channel)
}
