package redislock

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A session is the connection on which a Locker holds and waits for all its
// locks. The first error ends it, and with it every lock that it held: a lock
// never survives a reconnect.
type session struct {
	id     string // 32 hex digits, new for each session
	driver *driver
	wire   *wire
	dialed *dialed
	fast   bool // scripts run on the session's own connection; else through the client
	about  string

	publications chan publication // answers to pings

	mu      sync.Mutex
	members map[string]*member   // guarded by mu: the names it holds, claims or waits for
	crowded map[string]time.Time // guarded by mu: when others were last seen to wait; of some names
	cause   error                // guarded by mu: why the session has ended
	done    chan struct{}        // closed when cause is set
}

type publication struct{ channel, payload string }

var errSessionEnded = errors.New("the connection to Redis ended")

// openSession connects, and finds out how scripts can be run.
func openSession(ctx context.Context, d *driver) (*session, error) {
	conn, err := dial(ctx, d.user)
	if err != nil {
		return nil, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	s := &session{
		id:           hex.EncodeToString(id[:]),
		driver:       d,
		dialed:       conn,
		about:        conn.clientID + " " + d.whoami,
		publications: make(chan publication, maxPublications),
		members:      make(map[string]*member),
		crowded:      make(map[string]time.Time),
		done:         make(chan struct{}),
	}
	s.wire = &wire{conn: conn.conn, writeTimeout: limit(d.user.WriteTimeout), fail: s.end, goes: &d.running}
	if err := s.greet(); err != nil {
		s.end(err)
		return nil, err
	}
	return s, nil
}

// sessionChannel is subscribed as long as the session lives.
func (s *session) sessionChannel() string { return "locker:session:" + s.id }

// greet subscribes the session's channel, and tries to run a script on the same
// connection: RESP3 allows it.
func (s *session) greet() error {
	if err := s.wire.conn.SetReadDeadline(time.Now().Add(limit(s.driver.user.ReadTimeout))); err != nil {
		return err
	}
	r := bufio.NewReader(s.wire.conn)
	b := appendCommand(nil, "SUBSCRIBE", s.sessionChannel())
	b = appendCommand(b, "EVAL", "return 'ok'", "0")
	if _, err := s.wire.conn.Write(b); err != nil {
		return err
	}
	confirmation, err := readReply(r, 0)
	if err == nil {
		err = confirmation.err()
	}
	if err != nil {
		return err
	}
	answer, err := readReply(r, 0)
	if err != nil {
		return err
	}
	s.wire.resp3 = confirmation.kind == '>'
	s.fast = s.wire.resp3 && answer.err() == nil
	if err := answer.err(); err != nil && !strings.Contains(err.Error(), "allowed in this context") {
		return err
	}
	if err := s.wire.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	s.driver.running.Go(func() { s.end(s.wire.read(r, s.message)) })
	s.driver.running.Go(s.publish)
	s.driver.running.Go(s.watch)
	return nil
}

// end ends the session: what it held is lost at once, and those who wait go on
// with a new session.
func (s *session) end(cause error) {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause = fmt.Errorf("%w: %w", errSessionEnded, cause)
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
		s.driver.log.Warn("redis session ended", "session", s.id, "held", len(lost), "waited", len(waiting), "error", cause)
	}
}

// noteContended remembers that others wait for a lock, or hold it. mu is held.
func (s *session) noteContended(name string) {
	if len(s.crowded) >= maxCrowded {
		clear(s.crowded) // it saves work, no more
	}
	s.crowded[name] = time.Now()
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
// stay on a channel, or be missing, without knowing; its end puts that right.
func (s *session) insist(err error) {
	var refused serverError
	if errors.As(err, &refused) && s.ended() == nil {
		s.end(fmt.Errorf("the server refuses to change a subscription: %w", err))
	}
}

// ended returns why the session has ended, or nil.
func (s *session) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// watch ends a session whose server does not answer: a command within the read
// timeout of the client, or a PING on an idle session within the unavailable
// timeout.
func (s *session) watch() {
	o := &s.driver.options
	tick := min(o.UnavailableTimeout, o.HealthCheckInterval) / 4
	ticker := time.NewTicker(max(tick, time.Millisecond))
	defer ticker.Stop()
	patience := limit(s.driver.user.ReadTimeout)
	var heard uint64
	quiet := time.Now()              // since when nothing has come in
	var pinged, unanswered time.Time // since when a PING, and other commands, were seen to have no answer
	for {
		var now time.Time
		select {
		case <-s.done:
			return
		case now = <-ticker.C:
		}
		if h := s.wire.heard.Load(); h != heard {
			heard, quiet, pinged, unanswered = h, now, time.Time{}, time.Time{}
			continue
		}
		if unanswered.IsZero() && s.wire.unanswered() > 0 {
			unanswered = now
		}
		switch {
		case !pinged.IsZero() && now.Sub(pinged) >= o.UnavailableTimeout,
			!unanswered.IsZero() && now.Sub(unanswered) >= patience:
			s.end(fmt.Errorf("no answer for %v", now.Sub(quiet).Round(time.Millisecond)))
		case pinged.IsZero() && unanswered.IsZero() && now.Sub(quiet) >= o.HealthCheckInterval:
			pinged = now
			s.wire.send(command{words: []string{"PING"}, done: func(reply, error) {}})
		}
	}
}

// run has a script run once, and calls done with its answer. before is sent
// first. On the fast path the script runs after what was sent before, else at
// any time from now on.
func (s *session) run(before []command, sc *script, keys, args []string, done func(string, error)) {
	if !s.fast {
		s.wire.send(before...)
		s.driver.running.Go(func() { done(s.driver.eval(sc, keys, args)) })
		return
	}
	words := func(command, script string) []string {
		return append(append([]string{command, script, countOf(keys)}, keys...), args...)
	}
	s.wire.send(append(before, command{words: words("EVALSHA", sc.sha), done: func(r reply, err error) {
		if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			s.wire.send(command{words: words("EVAL", sc.text), done: func(r reply, err error) { done(r.text, err) }})
			return
		}
		done(r.text, err)
	}})...)
}

// ask runs a script and waits for its answer, or the end of ctx or the session.
func (s *session) ask(ctx context.Context, sc *script, keys, args []string) (string, error) {
	answer := make(chan answer, 1)
	s.run(nil, sc, keys, args, answerTo(answer))
	return s.await(ctx, answer)
}

type answer struct {
	text string
	err  error
}

func answerTo(c chan answer) func(string, error) {
	return func(text string, err error) { c <- answer{text, err} }
}

func (s *session) await(ctx context.Context, c chan answer) (string, error) {
	select {
	case a := <-c:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-s.done:
		return "", s.ended()
	}
}

// publish sends answers to pings, one after another.
func (s *session) publish() {
	for {
		select {
		case p := <-s.publications:
			s.driver.log.Debug("ping answered", "channel", p.channel)
			if s.fast {
				s.wire.send(command{words: []string{"PUBLISH", p.channel, p.payload}, done: func(reply, error) {}})
			} else if err := s.driver.client().Publish(s.driver.ctx, p.channel, p.payload).Err(); err != nil {
				s.driver.log.Debug("ping not answered", "channel", p.channel, "error", err)
			}
		case <-s.done:
			return
		}
	}
}

// eval runs a script through the client.
func (d *driver) eval(sc *script, keys, args []string) (string, error) {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a
	}
	ctx, cancel := context.WithTimeout(d.ctx, 2*limit(d.user.ReadTimeout))
	defer cancel()
	text, err := d.client().EvalSha(ctx, sc.sha, keys, values...).Text()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		text, err = d.client().Eval(ctx, sc.text, keys, values...).Text()
	}
	return text, err
}
