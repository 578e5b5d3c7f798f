package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// A Server is one server, or whichever one Sentinel says is the primary. It does not connect
// before it is used.
type Server struct {
	Env    *Env
	User   *redis.Options // the user's client's, as it has completed them
	Scheme protocol.Scheme
	Moving bool // the user's dialer asks Sentinel which server is the primary

	// MayHave reports whether a session with this id can have its channel here: in a Cluster,
	// whether the slot of that is one of the server's.
	MayHave func(sid string) bool

	mu     sync.Mutex
	client *redis.Client // guarded by mu: nil before it is used
	closed bool          // guarded by mu: no command goes by the client
	stale  atomic.Bool   // the next command goes by another client
	evals  gate
}

// Client returns the client for commands that do not go by a session: a small
// one of our own, which the user's own commands cannot keep waiting. It is another one
// when the address may lead to another server than before.
func (s *Server) Client() *redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale.Swap(false) && s.client != nil && !s.closed {
		old := s.client
		s.Env.Running.Go(func() { _ = old.Close() }) // of its connections, each has failed or will
		s.client = nil
	}
	if s.client == nil {
		s.client = s.NewClient()
		if s.closed {
			_ = s.client.Close() // no more goes by it
		}
	}
	return s.client
}

// NewClient returns a client of our own, whose connections are new.
func (s *Server) NewClient() *redis.Client {
	o := dial.CloneOptions(s.User)
	o.MaxRetries, o.DialerRetries = -1, 1 // Base tries again
	o.PoolSize = max(o.PoolSize, maxEvals+4)
	if s.Moving {
		o.ConnMaxLifetime = s.Env.Options.UnavailableTimeout // go-redis closes those to a former primary for the user's client only
	}
	return dial.NewClient(o)
}

// Reconnect has the next command go by new connections: the address may lead to another
// server.
func (s *Server) Reconnect() { s.stale.Store(true) }

// Close ends what goes by the client.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client != nil {
		_ = s.client.Close()
	}
}

// AtPrimary calls fn, and again by a new connection where the server was demoted that the
// one before leads to.
func (s *Server) AtPrimary(fn func() error) error {
	err := fn()
	if resp.IsDemotion(err) {
		s.Reconnect()
		err = fn()
	}
	return err
}

// ErrReplica is what a replica would say that is asked who holds locks, which it does not
// know.
const ErrReplica = resp.Error("READONLY the server is a replica, which does not know who holds locks")

// IsReplica reports whether the server says that it is one.
func (s *Server) IsReplica(ctx context.Context) bool {
	info, err := s.Client().Info(ctx, "replication").Result()
	return err == nil && dial.Field(info, "role") == "slave"
}

// A Request is a command, and what is to be done with the answer, "" for none, or with why
// there is none. Done must not block.
type Request struct {
	Words []string
	Done  func(text string, err error)
}

// Pipeline sends requests by a client, in one write.
func (s *Server) Pipeline(c *redis.Client, due []Request) {
	ctx, cancel := context.WithTimeout(s.Env.Ctx, s.Env.Options.UnavailableTimeout)
	defer cancel()
	p := c.Pipeline()
	for _, r := range due {
		p.Do(ctx, anys(r.Words)...)
	}
	answers, _ := p.Exec(ctx) // whose error is that of one of them
	for i, r := range due {
		value, err := answers[i].(*redis.Cmd).Result()
		if errors.Is(err, redis.Nil) {
			value, err = "", nil
		}
		r.Done(fmt.Sprint(value), resp.Plainly(err))
	}
}

func anys(words []string) []any {
	values := make([]any, len(words))
	for i, w := range words {
		values[i] = w
	}
	return values
}

// Eval runs a script.
func (s *Server) Eval(c protocol.Call) (string, error) {
	ctx, cancel := context.WithTimeout(s.Env.Ctx, 2*dial.Limit(s.User.ReadTimeout))
	defer cancel()
	text, err := s.Client().Do(ctx, anys(c.ByName())...).Text()
	if protocol.IsUnknownScript(err) {
		text, err = s.Client().Do(ctx, anys(c.ByText())...).Text()
	}
	return text, resp.Plainly(err)
}

// maxEvals is how many scripts run by the client at once, of those that EvalLater has run: so
// many connections it has, and some for what must not wait behind them.
const maxEvals = 16

// EvalLater calls begin, which must not block, and runs a script, when it is its turn. It calls
// done with the answer.
func (s *Server) EvalLater(c protocol.Call, begin func(), done func(string, error)) {
	s.evals.enter(maxEvals, func() {
		begin()
		s.Env.Running.Go(func() {
			text, err := s.Eval(c)
			s.evals.leave()
			done(text, err)
		})
	})
}

// Publish publishes a message.
func (s *Server) Publish(ctx context.Context, channel, payload string) error {
	return resp.Plainly(s.Client().Do(ctx, s.Scheme.Publish(), channel, payload).Err())
}

// Subscribers returns how many are subscribed to channels.
func (s *Server) Subscribers(ctx context.Context, channels ...string) (map[string]int64, error) {
	count := s.Client().PubSubNumSub
	if s.Scheme.Sharded {
		count = s.Client().PubSubShardNumSub
	}
	counts, err := count(ctx, channels...).Result()
	return counts, resp.Plainly(err)
}

// SessionsOn returns the sessions on the channel of a lock: those that hold it, claim it
// or stand by.
func (s *Server) SessionsOn(ctx context.Context, channel string) ([]string, error) {
	list := s.Client().PubSubChannels
	if s.Scheme.Sharded {
		list = s.Client().PubSubShardChannels
	}
	sessions, err := list(ctx, protocol.HoldChannels(channel)).Result()
	for i, on := range sessions {
		sessions[i] = strings.TrimPrefix(on, protocol.HoldChannel(channel, ""))
	}
	return sessions, err
}

// Connections returns the names of all connections that are subscribed to anything,
// by their ids.
func (s *Server) Connections(ctx context.Context) (map[string]string, error) {
	list, err := s.Client().Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	clients := make(map[string]string)
	for line := range strings.Lines(list) {
		var id, name string
		for word := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(word, "id="); ok {
				id = v
			} else if v, ok := strings.CutPrefix(word, "name="); ok {
				name = v
			}
		}
		clients[id] = name
	}
	return clients, err
}

// Others returns the connections that may be on a lock's channel: those of sessions,
// but for the one that asks, that hold or claim it, and those with the names that
// portalocker gives to the connections of its locks, but for sessions with such a name
// that only wait. No other connection is ever cut.
func (s *Server) Others(ctx context.Context, channel, lock, me string) (map[string]string, error) {
	sessions, err := s.SessionsOn(ctx, channel)
	if err != nil {
		return nil, err
	}
	onLock := make(map[string]bool) // by session id
	for _, id := range sessions {
		onLock[id] = id != me
	}
	clients, err := s.Connections(ctx)
	if err != nil {
		return nil, err
	}
	var doubtful []string
	maps.DeleteFunc(clients, func(_, name string) bool {
		id := protocol.IDIn(name)
		switch {
		case onLock[id] && protocol.IsSession(name, id, lock):
			return false
		case !protocol.IsPortalocker(name, lock) || id != "" && id == me:
			return true
		case id != "":
			doubtful = append(doubtful, protocol.SessionChannel(id))
		}
		return false
	})
	if len(doubtful) == 0 {
		return clients, nil
	}
	live, err := s.Client().PubSubNumSub(ctx, doubtful...).Result() // portalocker is not in a Cluster
	maps.DeleteFunc(clients, func(_, name string) bool {
		id := protocol.IDIn(name)
		return !onLock[id] && live[protocol.SessionChannel(id)] > 0
	})
	return clients, err
}

// Kill cuts connections, of those with a name, by their ids, and calls cut for each that it
// has cut.
func (s *Server) Kill(ctx context.Context, connections map[string]string, cut func(id, name string)) error {
	for _, id := range slices.Sorted(maps.Keys(connections)) {
		n, err := s.Client().ClientKillByFilter(ctx, "ID", id).Result()
		if err != nil {
			return err
		}
		if n > 0 {
			cut(id, connections[id])
		}
	}
	return nil
}
