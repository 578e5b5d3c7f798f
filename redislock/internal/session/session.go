// Package session has the sessions of a server: each is a connection, whose subscriptions
// are the locks. An attempt claims a lock (attempt.go, claim.go); where another holds it, it
// polls (poll.go), suspects those who hang (suspicion.go), and stands by when it is the next
// (standby.go); what it wins is a hold (hold.go). Heartbeats prove that the session is in
// touch with the server (lease.go). A Pool opens sessions when they are needed.
package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// A session is the connection on which a Locker holds and waits for all its
// locks. The first error ends it, and with it every lock that it held: a lock
// never survives a reconnect.
type session struct {
	id     string         // 32 hex digits, new for each session
	link   string         // of the pool
	unlink func(*session) // called when it has ended
	server *server.Server
	env    *server.Env // of the server
	conn   *conn.Conn
	dialed *dial.Conn
	fast   bool // scripts run on the session's own connection; else through the client
	about  protocol.About

	scripts  scripts               // with RESP3
	requests chan []server.Request // that go by the client
	opened   time.Time
	until    atomic.Int64  // the end of the lease: nanoseconds since opened; 0: there is none
	brief    atomic.Bool   // the latest lock was held for less than conn.RestTime
	done     chan struct{} // closed when cause is set

	mu       sync.Mutex
	cause    error              // guarded by mu, until done is closed: why the session has ended
	lease    lease              // guarded by mu, but for until
	members  map[string]*member // guarded by mu: its part in the locks that it holds, claims or waits for, by their channels
	memory   memory             // guarded by mu
	foreign  int                // guarded by mu: answers to foreign pings that are on their way
	renewing int                // guarded by mu: how often the keys are yet to be renewed
}

// A memory is what a session knows of some locks that it has no part in: it saves work, no
// more.
type memory struct {
	contended map[string]time.Time // by channel: when others were last seen to wait
	held      map[string]struct{}  // channels of locks that were held lately
}

const (
	maxContended  = 256
	maxHeldLately = 256
)

var (
	errEnded   = errors.New("the connection to Redis ended")
	errClosing = errors.New("closed")
	errMoved   = errors.New("the server that commands go to does not know the session")
)

// open connects, and finds out how scripts can be run.
func open(ctx context.Context, sv *server.Server, link string, unlink func(*session)) (*session, error) {
	id, err := newID(sv)
	if err != nil {
		return nil, err
	}
	dialed, err := dial.Dial(ctx, sv.User, connectionName(sv.Env, id, link))
	if err != nil {
		return nil, err
	}
	s := &session{
		id:       id,
		link:     link,
		unlink:   unlink,
		server:   sv,
		env:      sv.Env,
		dialed:   dialed,
		about:    sv.Env.About(dialed.ClientID),
		requests: make(chan []server.Request, maxPongs),
		opened:   time.Now(),
		done:     make(chan struct{}),
		members:  make(map[string]*member),
		memory:   memory{contended: make(map[string]time.Time), held: make(map[string]struct{})},
	}
	s.conn = conn.New(conn.Config{
		Net: dialed.Net, WriteTimeout: dial.Limit(sv.User.WriteTimeout), Running: &s.env.Running,
		Sharded: sv.Scheme.Sharded, Mark: ":l:" + id, NoHelp: dialed.Tunneled,
		Fail: s.end, Gone: s.gone, Message: s.message,
	})
	s.scripts.conn = s.conn
	stop := context.AfterFunc(ctx, func() { _ = dialed.Net.Close() })
	if err = s.greet(); err == nil {
		err = s.renewCredentials()
	}
	stop()
	if err != nil {
		s.end(err)
		return nil, err
	}
	if dialed.InfoDenied {
		s.env.Log.Debug("'info' is denied: whether the server was restarted is not known", "session", id)
	}
	return s, nil
}

// newID returns an id for a session that the server can have.
func newID(sv *server.Server) (string, error) {
	for range protocol.Slots {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		id := hex.EncodeToString(random[:])
		if sv.MayHave == nil || sv.MayHave(id) {
			return id, nil
		}
	}
	return "", fmt.Errorf("%s has no slots any more", sv.User.Addr)
}

// greet subscribes the session's channel, and tries by the same connection what a lock
// needs, so that a permission that is missing shows at once: RESP3 allows it. It is by the
// client with RESP2.
func (s *session) greet() error {
	name := protocol.SessionChannel(s.id)
	var first error
	note := func(_ string, err error) {
		if first == nil && err != nil && !resp.IsFull(err) {
			first = err
		}
	}
	trials := []server.Request{
		{Words: s.beatCommand("0"), Done: note},
		{Words: []string{"EVAL", "return KEYS[1]", "1", name}, Done: note}, // some servers refuse a script without keys
		{Words: []string{s.server.Scheme.Publish(), name, ""}, Done: note},
	}
	s.fast = true
	var commands []conn.Command
	for _, t := range trials {
		commands = append(commands, conn.Command{Words: t.Words, Done: func(r resp.Value, err error) {
			if err != nil && strings.Contains(err.Error(), "allowed in this context") {
				s.fast = false
				return
			}
			t.Done(r.Text, err)
		}})
	}
	if err := s.conn.Greet(dial.Limit(s.server.User.ReadTimeout), name, commands...); err != nil {
		return dial.OrProxy(err)
	}
	if s.fast = s.fast && s.conn.RESP3(); !s.fast {
		s.server.Pipeline(s.server.Client(), trials)
	}
	if first != nil {
		return first
	}
	s.env.Running.Go(func() { s.end(s.conn.Read()) })
	if !s.fast {
		s.env.Running.Go(s.sendByClient)
	}
	s.env.Running.Go(s.watch)
	return nil
}

// end ends the session: what it held is lost at once, and those who wait go on
// with a new session.
// In protocol.pml, too: a change here asks for one there.
func (s *session) end(cause error) {
	s.mu.Lock()
	s.endWith(cause)
}

// endWith is end. mu is held, and unlocked.
func (s *session) endWith(cause error) {
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause = fmt.Errorf("%w: %w", errEnded, cause)
	for _, moved := range []error{errMoved, resp.ErrDemoted, errLeaseOver, errSilent, resp.ErrProtocol} {
		if errors.Is(cause, moved) {
			s.server.Reconnect()
		}
	}
	close(s.done)
	var lost []func(error)
	var waiting []*member
	for _, m := range s.members {
		if m.hold != nil && m.hold.lost != nil {
			lost = append(lost, m.hold.lost)
		}
		if m.place.queued {
			waiting = append(waiting, m)
		}
	}
	s.mu.Unlock()
	for _, f := range lost {
		f(s.cause)
	}
	s.conn.End(s.cause)
	s.dialed.Close()
	for _, m := range waiting {
		m.attempt.Wake()
	}
	if len(lost)+len(waiting) > 0 && !errors.Is(cause, errClosing) {
		s.env.Log.Warn("redis session ended", "session", s.id, "held", len(lost), "waited", len(waiting), "error", cause)
	}
}

// ended returns why the session has ended, or nil.
func (s *session) ended() error {
	select {
	case <-s.done:
		return s.cause
	default:
		return nil
	}
}

var errSlotMoved = errors.New("the slot of the lock has moved to another shard")

// gone takes in that the server has dropped a channel, as its slot has moved to
// another shard: the lock is lost, or the place in its queue.
func (s *session) gone(channel string) {
	if channel == protocol.SessionChannel(s.id) {
		s.end(errSlotMoved)
		return
	}
	s.mu.Lock()
	lock, kind := protocol.Split(channel, s.id)
	var lost func(error)
	switch m := s.members[lock]; {
	case m == nil:
	case kind == protocol.Wait || m.mayBeGiven():
		if m.mayBeGiven() {
			m.claim.gift.mayCome, m.claim.gift.won, m.claim.moved = false, nil, true // an attempt may have it in hand
		}
		if m.phase == standing {
			m.enter(idle)
			m.claim = nil
		}
		m.place.waits, m.place.queued = false, false
		m.attempt.Wake()
	case m.hold != nil:
		lost = m.hold.lose(errSlotMoved)
		m.hold = nil
		s.drop()
		m.enter(idle)
		if !m.work.busy {
			m.forget()
		}
	case m.claim != nil:
		m.claim.moved = true // won tells
	}
	s.mu.Unlock()
	if lost != nil {
		lost(errSlotMoved)
	}
}

// inUse reports whether the session has a part in any lock.
func (s *session) inUse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause == nil && len(s.members) > 0
}

// noteContended remembers that others wait for a lock, or hold it. mu is held.
func (s *session) noteContended(channel string) {
	if len(s.memory.contended) >= maxContended {
		clear(s.memory.contended)
	}
	s.memory.contended[channel] = time.Now()
	s.conn.Busy()
}

// contendedSince reports whether others were seen on a lock in the last d. mu is
// held.
func (s *session) contendedSince(channel string, d time.Duration) bool {
	seen, ok := s.memory.contended[channel]
	if ok && time.Since(seen) < d {
		return true
	}
	delete(s.memory.contended, channel)
	return false
}

// noteHeld remembers that a lock was held, for forget. mu is held.
func (s *session) noteHeld(channel string) {
	if _, ok := s.memory.held[channel]; !ok && len(s.memory.held) >= maxHeldLately {
		for other := range s.memory.held {
			delete(s.memory.held, other)
			break
		}
	}
	s.memory.held[channel] = struct{}{}
}

// forget deletes the hints that name the session, for as long as that is quick.
func (s *session) forget() {
	ctx, cancel := context.WithTimeout(context.Background(), min(s.env.Options.UnavailableTimeout, CloseTime))
	defer cancel()
	s.mu.Lock()
	held := slices.Collect(maps.Keys(s.memory.held))
	clear(s.memory.held)
	s.mu.Unlock()
	answers := make(chan answer, len(held))
	for _, channel := range held {
		s.run(protocol.Forget{Channel: channel, SID: s.id}.In(s.server.Scheme), answerTo(answers))
	}
	for range held {
		if _, err := s.await(ctx, answers); err != nil {
			return
		}
	}
}

// insist ends the session if the server has refused what it must not refuse: to
// leave a channel, or to subscribe to that of one who waits. The session would
// stay on a channel, or be missing, without knowing; its end puts that right. Redis
// from 7.4 on does not let a channel of a shard be left while its slot is on its way to
// another, or at a replica.
func (s *session) insist(err error) {
	if _, refused := errors.AsType[resp.Error](err); refused && s.ended() == nil {
		s.end(fmt.Errorf("the server refuses to change a subscription: %w", err))
	}
}

// insistOnWait is insist for the channel of one who waits. Where its slot is another
// shard's, the next look says so.
func (s *session) insistOnWait(_ resp.Value, err error) {
	if !resp.IsRedirect(err) {
		s.insist(err)
	}
}
