package redislock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

var _ locker.Inspector = (*driver)(nil)

// A found is what the server knows of a lock.
type found struct {
	waiters int
	held    bool
	holder  hint
}

// A hint is a value of n-holder, see lua/common.lua.
type hint struct {
	sid, token, client, pid, host string
	since                         int64 // microseconds of Unix time
	mayLinger                     bool
}

// parseHint parses a value of n-holder, or a session's id alone.
func parseHint(value string) hint {
	f := strings.Fields(value)
	if len(f) == 1 {
		return hint{sid: f[0]}
	}
	f = append(f, "", "", "", "", "", "", "", "")
	since, _ := strconv.ParseInt(f[4], 10, 64)
	return hint{sid: f[0], token: f[1], client: f[5], pid: f[6], host: f[7], since: since, mayLinger: strings.HasSuffix(value, lingerMark)}
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

// Inspect implements locker.Inspector. It costs one round trip; two where the holder
// may linger, as that one is asked.
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
	f, err := n.find(ctx, channel)
	if err != nil || !f.held || !f.holder.mayLinger {
		return f, err
	}
	return n.findSurely(ctx, channel, f)
}

// find asks the server alone.
func (n *node) find(ctx context.Context, channel string) (found, error) {
	if ctx.Err() != nil {
		return found{}, ctx.Err()
	}
	text, err := n.eval(inspectScript, []string{channel + "-holder", channel + "-queue"}, []string{channel})
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

// How often the server is asked whether something has come about that takes a moment.
const (
	firstAsked = time.Millisecond // then doubled
	lastAsked  = 20 * time.Millisecond
)

// findSurely asks a session whether it holds a lock, or lets it linger. In the latter
// case it gives it up, without an answer.
func (n *node) findSurely(ctx context.Context, channel string, f found) (found, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	reply := channel + ":w:" + hex.EncodeToString(random[:])
	subscribe := n.client().Subscribe
	if n.shard != nil {
		subscribe = n.client().SSubscribe
	}
	answers := subscribe(ctx, reply)
	defer func() { _ = answers.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = answers.Close() })
	defer stop()
	if _, err := answers.ReceiveTimeout(ctx, limit(n.user.ReadTimeout)); err != nil {
		return found{}, withoutArguments(err)
	}
	if _, err := n.publish(ctx, channel, pingText(reply)); err != nil {
		return found{}, err
	}
	asked := f.holder
	holds := make(chan struct{})
	messages := answers.Channel()
	n.running.Go(func() {
		for m := range messages { // until it is closed
			var p pong
			if json.Unmarshal([]byte(m.Payload), &p) == nil && p.Mode == "exclusive" && p.HolderID == asked.sid {
				close(holds)
				return
			}
		}
	})
	ended, err := n.await(ctx, n.options.UnavailableTimeout, holds, func() (bool, error) {
		var err error
		f, err = n.find(ctx, channel)
		return f.holder != asked, err
	})
	if err == nil && ended && f.held && f.holder.mayLinger {
		return n.find(ctx, channel) // another one has it: it has just acquired it
	}
	return f, err
}

// await asks until is says so, for a time at most, or until stop is closed.
func (n *node) await(ctx context.Context, most time.Duration, stop <-chan struct{}, is func() (bool, error)) (bool, error) {
	end := time.Now().Add(most)
	for pause := firstAsked; ; pause = min(2*pause, lastAsked) {
		if yes, err := is(); yes || err != nil || time.Now().After(end) {
			return yes, err
		}
		select {
		case <-stop:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

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
		s, err := within(ctx, n.driver, func() (step, error) { return n.step(ctx, from) })
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
	keys, next, err := n.client().Scan(ctx, cursor, "*-holder", size).Result()
	if err != nil {
		return step{}, withoutArguments(err)
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
	hints := make(map[string]hint)
	for i, v := range values {
		answer, err := v.(*redis.SliceCmd).Result()
		if redis.HasErrorPrefix(err, "NOPERM") && strings.Contains(err.Error(), "key") {
			continue // a lock that the user may not have
		}
		if err != nil {
			return nil, withoutArguments(err)
		}
		value, _ := answer[0].(string)
		channel := strings.TrimSuffix(keys[i], "-holder")
		if h := parseHint(value); isSessionID(h.sid) && (h.token != "0" || h.mayLinger) {
			on := channel + ":h:" + h.sid
			holders = append(holders, on)
			hints[on] = h
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
		return nil, withoutArguments(err)
	}
	for _, on := range holders {
		if live[on] == 0 {
			continue
		}
		channel := strings.TrimSuffix(on, ":h:"+hints[on].sid)
		if hints[on].mayLinger {
			f, err := n.inspect(ctx, channel)
			if err != nil {
				return nil, err
			}
			if !f.held {
				continue
			}
		}
		channels = append(channels, channel)
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

// Break implements locker.Inspector. The holder is asked to give the lock up, which it
// does at once, and says so to its user first. One that does not is disconnected after
// the unavailable timeout, which costs it all its locks; and so is a holder that is not
// of this library.
func (d *driver) Break(ctx context.Context, name string) error {
	_, err := within(ctx, d, func() (struct{}, error) {
		return struct{}{}, d.on(ctx, name, func(n *node) error { return n.breakLock(ctx, name) })
	})
	return err
}

var errReplica = errors.New("READONLY: the server is a replica, which does not know who holds locks")

var errStillHeld = errors.New("the lock is still held")

func (n *node) breakLock(ctx context.Context, name string) error {
	channel := n.channelOf(name)
	f, err := n.inspect(ctx, channel)
	if err != nil || !f.held {
		return err
	}
	broken := f.holder
	gone := func() (bool, error) {
		now, err := n.find(ctx, channel)
		return !now.held || now.holder != broken, err
	}
	asked := []string{broken.sid}
	if broken.sid == "" { // n-holder was lost, or it is not of this library
		if asked, err = n.sessionsOn(ctx, channel); err != nil {
			return withoutArguments(err)
		}
	}
	if len(asked) > 0 {
		// Again and again: one who has just acquired it may not know that yet.
		ask := func() (bool, error) {
			if done, err := gone(); done || err != nil {
				return done, err
			}
			for _, sid := range asked { // who does not hold it does nothing
				if _, err := n.publish(ctx, channel+":h:"+sid, messageBreak+broken.token); err != nil {
					return false, err
				}
			}
			return false, nil
		}
		if done, err := n.await(ctx, n.options.UnavailableTimeout, nil, ask); done || err != nil {
			return err
		}
	}
	killed, err := n.cut(ctx, channel, name, broken)
	if err != nil {
		return withoutArguments(fmt.Errorf("the holder cannot be disconnected: %w", err))
	}
	if done, err := n.await(ctx, n.options.UnavailableTimeout, nil, gone); done || err != nil {
		return err
	}
	if killed == 0 {
		return fmt.Errorf("%w, by a connection whose name is not that of a holder: CLIENT LIST TYPE pubsub shows it", errStillHeld)
	}
	return errStillHeld
}

// cut cuts the connection of a holder, and returns how many it has cut.
func (n *node) cut(ctx context.Context, channel, name string, holder hint) (killed int64, err error) {
	var clients map[string]string
	if holder.sid == "" {
		clients, err = n.others(ctx, channel, name, "")
	} else {
		clients, err = n.subscribers(ctx)
	}
	for id, client := range clients {
		if holder.sid != "" && !isSession(client, holder.sid, name) {
			continue
		}
		var k int64
		if k, err = n.client().ClientKillByFilter(ctx, "ID", id).Result(); err != nil {
			break
		}
		if killed += k; k > 0 {
			n.log.Warn("lock broken: connection of the holder cut", "lock", name, "client", id, "name", client)
		}
	}
	return killed, err
}
