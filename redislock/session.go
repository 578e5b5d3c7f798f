package redislock

import (
	"bufio"
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
)

// A session is the connection on which a Locker holds and waits for all its
// locks. The first error ends it, and with it every lock that it held: a lock
// never survives a reconnect.
type session struct {
	id     string // 32 hex digits, new for each session
	node   *node
	link   string // of its node
	wire   *wire
	dialed *dialed
	fast   bool // scripts run on the session's own connection; else through the client
	about  string

	requests chan []request // that go by the client
	opened   time.Time
	until    atomic.Int64 // the end of the lease: nanoseconds since opened; 0: there is none
	brief    atomic.Bool  // the latest lock was held for less than restTime

	mu       sync.Mutex
	lease    lease                // guarded by mu, but for until
	members  map[string]*member   // guarded by mu: the names it holds, claims or waits for
	crowded  map[string]time.Time // guarded by mu: when others were last seen to wait; of some names
	recent   map[string]struct{}  // guarded by mu: channels of locks that were held lately; some, not all
	foreign  int                  // guarded by mu: answers to foreign pings that are on their way
	renewing int                  // guarded by mu: how often the keys are yet to be renewed
	cause    error                // guarded by mu: why the session has ended
	done     chan struct{}        // closed when cause is set
}

var errSessionEnded = errors.New("the connection to Redis ended")

// openSession connects, and finds out how scripts can be run.
func openSession(ctx context.Context, n *node, link string) (*session, error) {
	id, err := n.newSessionID()
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, n.user, n.connectionName(id, link))
	if err != nil {
		return nil, err
	}
	s := &session{
		id:       id,
		node:     n,
		link:     link,
		dialed:   conn,
		about:    conn.clientID + " " + microseconds(n.options.UnavailableTimeout) + " " + n.whoami,
		requests: make(chan []request, maxPongs),
		opened:   time.Now(),
		members:  make(map[string]*member),
		crowded:  make(map[string]time.Time),
		recent:   make(map[string]struct{}),
		done:     make(chan struct{}),
	}
	s.wire = &wire{conn: conn.conn, writeTimeout: limit(n.user.WriteTimeout), fail: s.end, goes: &n.running, sharded: n.shard != nil, gone: s.gone, mark: ":l:" + id, on: make(map[string]struct{})}
	stop := context.AfterFunc(ctx, func() { _ = s.wire.conn.Close() })
	if err = s.greet(); err == nil {
		err = s.renewCredentials()
	}
	stop()
	if err != nil {
		s.end(err)
		return nil, err
	}
	if conn.infoDenied {
		n.log.Debug("'info' is denied: whether the server was restarted is not known", "session", id)
	}
	return s, nil
}

// newSessionID returns an id for a session. In a Cluster, the slot of its channel is
// one of the node's.
func (n *node) newSessionID() (string, error) {
	for range slots {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		id := hex.EncodeToString(random[:])
		if n.shard == nil || n.shard.has(n, slotOf(sessionName(id))) {
			return id, nil
		}
	}
	return "", fmt.Errorf("%s has no slots any more", n.user.Addr)
}

// sessionName is the name of the channel that is subscribed as long as the session
// lives, and of its connection, but with PortalockerNames.
func sessionName(id string) string { return "locker:session:" + id }

// greet subscribes the session's channel, and tries by the same connection what a lock
// needs, so that a permission that is missing shows at once: RESP3 allows it. It is by the
// client with RESP2.
func (s *session) greet() error {
	if err := s.wire.conn.SetReadDeadline(time.Now().Add(limit(s.node.user.ReadTimeout))); err != nil {
		return err
	}
	r := bufio.NewReader(s.wire.conn)
	name := sessionName(s.id)
	var first error
	note := func(_ string, err error) {
		if first == nil && err != nil && !isFull(err) {
			first = err
		}
	}
	trials := []request{
		{s.beatCommand("0"), note},
		{[]string{"EVAL", "return KEYS[1]", "1", name}, note}, // some servers refuse a script without keys
		{[]string{s.wire.shardWord("PUBLISH"), name, ""}, note},
	}
	b := appendCommand(nil, s.wire.subscribe(nil, name).words...)
	for _, t := range trials {
		b = appendCommand(b, t.words...)
	}
	if _, err := s.wire.conn.Write(b); err != nil {
		return err
	}
	confirmation, err := readReply(r, 0)
	if err == nil {
		err = confirmation.err()
	}
	if err != nil {
		return orProxy(err)
	}
	s.wire.resp3 = confirmation.kind == '>'
	s.fast = s.wire.resp3
	for _, t := range trials {
		answer, err := readReply(r, 0)
		for err == nil && answer.isPush(s.wire.resp3) { // what was published
			answer, err = readReply(r, 0)
		}
		if err != nil {
			return err
		}
		if err = answer.err(); err != nil && strings.Contains(err.Error(), "allowed in this context") {
			s.fast = false
			continue
		}
		t.done("", err)
	}
	if !s.fast {
		s.node.pipeline(s.node.client(), trials)
	}
	if first != nil {
		return first
	}
	if err := s.wire.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	s.wire.message = s.message
	s.wire.reading.begin(r)
	s.node.running.Go(func() { s.end(s.wire.read()) })
	if !s.fast {
		s.node.running.Go(s.sendByClient)
	}
	s.node.running.Go(s.watch)
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
	s.cause = fmt.Errorf("%w: %w", errSessionEnded, cause)
	s.node.lostTouch(cause)
	close(s.done)
	var lost []func(error)
	var waiting []*member
	for _, m := range s.members {
		if m.hold != nil && m.hold.lost != nil {
			lost = append(lost, m.hold.lost)
		}
		if m.queued {
			waiting = append(waiting, m)
		}
	}
	s.mu.Unlock()
	for _, f := range lost {
		f(s.cause)
	}
	s.wire.end(s.cause)
	s.dialed.close()
	for _, m := range waiting {
		m.attempt.Wake()
	}
	if len(lost)+len(waiting) > 0 && !errors.Is(cause, errClosing) {
		s.node.log.Warn("redis session ended", "session", s.id, "held", len(lost), "waited", len(waiting), "error", cause)
	}
}

var errSlotMoved = errors.New("the slot of the lock has moved to another shard")

// gone takes in that the server has dropped a channel, as its slot has moved to
// another shard: the lock is lost, or the place in its queue.
func (s *session) gone(channel string) {
	if channel == sessionName(s.id) {
		s.end(errSlotMoved)
		return
	}
	s.mu.Lock()
	var lost func(error)
	if m, kind := s.memberOf(channel); m != nil && (kind == ":w:" || m.standby != nil) {
		if m.standby != nil {
			m.standby, m.grant, m.claiming, m.granted, m.moved = nil, "", false, false, true
		}
		m.waits, m.queued = false, false
		m.attempt.Wake()
	} else if m != nil && m.hold != nil {
		lost = m.hold.lose(errSlotMoved)
		m.hold = nil
		s.drop()
		if !m.busy {
			m.forget()
		}
	} else if m != nil {
		m.moved = m.claiming // won tells
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
func (s *session) noteContended(name string) {
	if len(s.crowded) >= maxCrowded {
		clear(s.crowded) // it saves work, no more
	}
	s.crowded[name] = time.Now()
	s.wire.reading.isBusy()
}

// noteHeld remembers that the lock of a channel was held, for forget. mu is held.
func (s *session) noteHeld(channel string) {
	if _, ok := s.recent[channel]; !ok && len(s.recent) >= maxRecent {
		for other := range s.recent {
			delete(s.recent, other)
			break
		}
	}
	s.recent[channel] = struct{}{}
}

// forget deletes the hints that name the session, for as long as that is quick.
func (s *session) forget() {
	ctx, cancel := context.WithTimeout(context.Background(), min(s.node.options.UnavailableTimeout, closeTime))
	defer cancel()
	s.mu.Lock()
	recent := slices.Collect(maps.Keys(s.recent))
	clear(s.recent)
	s.mu.Unlock()
	answers := make(chan answer, len(recent))
	for _, channel := range recent {
		s.run(nil, forgetScript, s.node.keysOf(channel), []string{s.id}, answerTo(answers))
	}
	for range len(recent) {
		if _, err := s.await(ctx, answers); err != nil {
			return
		}
	}
}

// contendedSince reports whether others were seen on a lock in the last d. mu is
// held.
func (s *session) contendedSince(name string, d time.Duration) bool {
	seen, ok := s.crowded[name]
	if ok && time.Since(seen) < d {
		return true
	}
	delete(s.crowded, name)
	return false
}

// insist ends the session if the server has refused what it must not refuse: to
// leave a channel, or to subscribe to that of one who waits. The session would
// stay on a channel, or be missing, without knowing; its end puts that right. Redis
// from 7.4 on does not let a channel of a shard be left while its slot is on its way to
// another, or at a replica.
func (s *session) insist(err error) {
	if _, refused := errors.AsType[serverError](err); refused && s.ended() == nil {
		s.end(fmt.Errorf("the server refuses to change a subscription: %w", err))
	}
}

// insistOnWait is insist for the channel of one who waits. Where its slot is another
// shard's, the next look says so.
func (s *session) insistOnWait(_ reply, err error) {
	if !isRedirect(err) {
		s.insist(err)
	}
}

// ended returns why the session has ended, or nil.
func (s *session) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}
