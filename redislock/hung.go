package redislock

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Those who hang: a holder that is frozen keeps its connection, and with it the
// lock; a waiter that is frozen keeps its place. All who wait look for them when they
// poll, also those far behind: who is before them may hang, too. Each poll pings whoever
// is on the lock's channel, who has the unavailable timeout to answer, from when the
// server has passed the ping on: its own, which its hint says. Then its connection is cut
// (CLIENT KILL), or its place is taken away.
//
// "No answer" alone would kill the living. So it is the poll that says who is meant:
// if that is another one than before, or another hold of the same one, the time
// starts again. Where it is not known who holds the lock, it is a holder of portalocker,
// or one of another database, or its hint is lost for the moment. Then a poll says how
// many the ping has reached; only if not all have answered by the next poll are they
// looked for among the connections, which costs the server the more the more it has.

// A doubt is whom a waiter believes to hang.
type doubt struct {
	about   whom
	since   time.Time         // when the server had passed on the first ping that was not answered
	present map[string]string // names of connections by id, before that; of those who may be meant, where it is not known who
	heard   map[string]bool   // session ids of those who have answered since; and unknownHolder
	answers int               // to the latest ping
	began   time.Time         // where it is not known who is meant: when that was first seen
}

// A whom is who keeps a waiter from the lock.
type whom struct {
	role      string // one of those below; "": nobody in particular
	sid       string
	token     string
	client    string        // the id of its connection
	timeout   time.Duration // its UnavailableTimeout; 0: not known
	receivers int           // of the ping, where it is not known who it is
}

const (
	roleHolder  = "pinged"  // the holder, or the one that stands by: it has been pinged
	roleUnknown = "unknown" // whoever is on the channel has been pinged
	roleHead    = "idle"    // the lock is free, and it is the turn of this waiter
)

// maxHeard bounds how many answers are kept: who answers is not trusted.
const maxHeard = 64

// answered takes in that somebody has answered a ping. session.mu is held.
func (d *doubt) answered(who string) {
	if d.heard == nil {
		d.heard = make(map[string]bool)
	}
	if len(d.heard) < maxHeard {
		d.heard[who] = true
	}
	d.answers++
}

// settled reports whether those who are meant have answered.
func (d *doubt) settled() bool {
	switch d.about.role {
	case "":
		return true
	case roleUnknown:
		return d.answers >= d.about.receivers
	default:
		return d.heard[d.about.sid]
	}
}

// beginPoll forgets a doubt that an answer has cleared. session.mu is held.
func (m *member) beginPoll() {
	if m.doubt.settled() {
		m.doubt = doubt{}
	}
	m.doubt.answers = 0
}

// A verdict is what a poll has led to.
type verdict struct {
	again bool          // look again now
	evict string        // and take this session's place in the queue away
	after time.Duration // look again no later than that; 0: no matter
}

// judge decides what becomes of those who keep m from the lock, after a poll.
// In protocol.pml, too: a change here asks for one there.
func (m *member) judge(ctx context.Context, about whom) verdict {
	s := m.session
	patience := s.node.options.UnavailableTimeout
	if about.timeout > 0 {
		patience = about.timeout
	}
	s.mu.Lock()
	d := &m.doubt
	switch isNew := about != d.about; {
	case about.role == "":
		*d = doubt{}
	case about.role == roleUnknown && d.about.role != roleUnknown:
		*d = doubt{about: about, heard: d.heard, answers: d.answers, began: time.Now()}
		s.mu.Unlock()
		return verdict{after: patience / 4} // whether all answer
	case about.role == roleUnknown && d.present == nil && time.Since(d.began) < patience/4: // they may be slow
		d.about = about
		s.mu.Unlock()
		return verdict{after: patience / 4}
	case about.role == roleUnknown && d.present == nil:
		s.mu.Unlock()
		return m.suspectOthers(ctx, about)
	case about.role == roleUnknown:
		d.about = about
		if d.since.IsZero() {
			d.since = time.Now()
		}
	case isNew:
		*d = doubt{about: about, since: time.Now(), heard: d.heard}
	}
	if d.settled() {
		*d = doubt{}
	}
	matter := *d
	matter.heard = maps.Clone(d.heard)
	s.mu.Unlock()

	switch left := patience - time.Since(matter.since); {
	case matter.about.role == "":
		return verdict{}
	case left > 0:
		return verdict{after: left}
	}
	s.mu.Lock()
	*d = doubt{}
	s.mu.Unlock()
	if about.role == roleHead {
		s.node.log.Warn("waiter does not take its turn: put out of the queue", "lock", m.name, "session", about.sid)
		return verdict{again: true, evict: about.sid}
	}
	return verdict{again: m.disconnect(ctx, matter)}
}

// suspectOthers begins a doubt about whoever is on the channel of the lock, where no
// holder is known, and not all have answered: one who hung while it claimed the lock, or
// a foreign holder.
func (m *member) suspectOthers(ctx context.Context, about whom) verdict {
	s := m.session
	if !s.node.mayKill() {
		return verdict{}
	}
	present, err := within(ctx, s.node.driver, func() (map[string]string, error) {
		return s.node.others(ctx, m.channel, m.name, s.id)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.node.refused(err)
		m.doubt = doubt{}
		return verdict{}
	}
	m.doubt = doubt{about: about, present: present}
	if len(present) == 0 {
		m.doubt.since = time.Now() // nobody that may be cut off: look again when the time has passed
		return verdict{}
	}
	return verdict{again: true} // now that it is known who is there, ping them
}

// others returns the connections that may be on a lock's channel: those of sessions,
// but for the one that asks, that hold or claim it, and those with the names that
// portalocker gives to the connections of its locks, but for sessions with such a name
// that only wait. No other connection is ever cut.
func (n *node) others(ctx context.Context, channel, lock, me string) (map[string]string, error) {
	sessions, err := n.sessionsOn(ctx, channel)
	if err != nil {
		return nil, err
	}
	onLock := make(map[string]bool) // by session id
	for _, id := range sessions {
		onLock[id] = id != me
	}
	clients, err := n.subscribers(ctx)
	if err != nil {
		return nil, err
	}
	var doubtful []string
	maps.DeleteFunc(clients, func(_, name string) bool {
		id := idIn(name)
		switch {
		case onLock[id] && isSession(name, id, lock):
			return false
		case !isPortalocker(name, lock) || id != "" && id == me:
			return true
		case id != "":
			doubtful = append(doubtful, sessionName(id))
		}
		return false
	})
	if len(doubtful) == 0 {
		return clients, nil
	}
	live, err := n.client().PubSubNumSub(ctx, doubtful...).Result()
	maps.DeleteFunc(clients, func(_, name string) bool {
		id := idIn(name)
		return !onLock[id] && live[sessionName(id)] > 0
	})
	return clients, err
}

// sessionsOn returns the sessions on the channel of a lock: those that hold it, claim it
// or stand by.
func (n *node) sessionsOn(ctx context.Context, channel string) ([]string, error) {
	list := n.client().PubSubChannels
	if n.shard != nil {
		list = n.client().PubSubShardChannels
	}
	sessions, err := list(ctx, escapePattern(channel)+":h:*").Result()
	for i, on := range sessions {
		sessions[i] = strings.TrimPrefix(on, channel+":h:")
	}
	return sessions, err
}

// isSession reports whether the connection of session id is called so.
func isSession(client, id, lock string) bool {
	return client == sessionName(id) || client == portalockerName(lock, id)
}

// idIn returns the id of a session, or of a holder of portalocker, at the end of the
// name of a connection, or "".
func idIn(name string) string {
	if id := name[max(0, len(name)-32):]; isSessionID(id) {
		return id
	}
	return ""
}

// disconnect cuts the connections of those who have not answered, and reports
// whether there were any.
func (m *member) disconnect(ctx context.Context, matter doubt) bool {
	node := m.session.node
	if !node.mayKill() {
		return false
	}
	killed, err := within(ctx, node.driver, func() (killed bool, err error) {
		now, err := m.hung(ctx, matter)
		for id, name := range now {
			n, err := node.client().ClientKillByFilter(ctx, "ID", id).Result()
			if err != nil {
				return killed, err
			}
			if n > 0 {
				killed = true
				node.log.Warn("holder does not answer: connection cut", "lock", m.name, "client", id, "name", name, "token", matter.about.token)
			}
		}
		return killed, err
	})
	node.refused(err)
	return killed
}

// hung returns the connections, by id, of those who have not answered and are still
// there.
func (m *member) hung(ctx context.Context, matter doubt) (map[string]string, error) {
	if matter.about.sid != "" {
		// The name of a session is that of one connection only, ever: it was there at
		// the ping if it is there now, also where Redis has begun to count again.
		clients, err := m.session.node.subscribers(ctx)
		name := clients[matter.about.client]
		if !isSession(name, matter.about.sid, m.name) {
			return nil, err
		}
		return map[string]string{matter.about.client: name}, err
	}
	now, err := m.session.node.others(ctx, m.channel, m.name, m.session.id)
	maps.DeleteFunc(now, func(id, name string) bool {
		who := idIn(name)
		if name == m.name+"-lock" {
			who = unknownHolder
		}
		return matter.present[id] != name || matter.heard[who]
	})
	return now, err
}

// subscribers returns the names of all connections that are subscribed to anything,
// by their ids.
func (n *node) subscribers(ctx context.Context) (map[string]string, error) {
	list, err := n.client().Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
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

// askAgain is how long nobody tries to find or cut connections where the server has not
// allowed it: the permission may be granted.
const askAgain = time.Minute

// mayKill reports whether connections can be cut, as far as is known.
func (d *driver) mayKill() bool {
	until := d.cannotKill.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// refused takes in how a command has ended that finds or cuts connections. That the
// server does not allow it is said once.
func (d *driver) refused(err error) {
	switch {
	case err == nil:
		d.cannotKill.Store(0)
	case redis.HasErrorPrefix(err, "NOPERM") || serverLacks(err) == nil:
		if d.cannotKill.Swap(time.Now().Add(askAgain).UnixNano()) == 0 {
			d.log.Warn("a holder that hangs cannot be disconnected: it will keep its lock", "error", err)
		}
	}
}

// escapePattern escapes what a pattern of PUBSUB CHANNELS gives a meaning to.
func escapePattern(name string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`, "^", `\^`, "-", `\-`).Replace(name)
}
