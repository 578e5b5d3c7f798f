package redislock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A lease is how long the locks of a session are good for without new proof that
// the server still has its subscriptions, and that the session is not taken for a
// hung one. It is what closes Done before anyone else is granted the lock
// (invariant 2): a contender has a holder disconnected who has not answered its
// ping for the unavailable timeout, and the lease, three quarters of that, runs
// from before the ping.
//
// Proof is a heartbeat: something that is published on the session's channel, and
// comes back. It counts from when it was sent, and only when all pings that came in
// before it have been answered: the session may read, and yet be unable to answer.
// A claim is proof, too.
//
// A heartbeat is sent eight times in an unavailable timeout, so that a holder whose
// machine stops for half of it keeps its locks.
//
// Where Sentinel says which server is the primary, the session may be on a former
// one. There a heartbeat goes by a connection of its own, opened for it, to the
// primary of that moment, where it has to reach the session; and a claim is no
// proof. As each costs a connection, there are half as many. In a Cluster, only the
// primary of a shard runs the script that a heartbeat is.
//
// That it runs out in time is taken for granted in protocol.pml: a change here asks
// for a look there.
type lease struct {
	holds    int              // the locks that need it
	last     uint64           // the number of the latest heartbeat
	beats    [beats]heartbeat // those that may still come back, by number
	pings    uint64           // how many have come in that the session must answer
	pongs    uint64           // how many of the answers the server has
	proof    time.Time        // of a heartbeat that came back before all pings were answered; 0: none
	proofFor uint64           // how many pongs it takes to make it count
	renewed  chan struct{}    // closed by the first proof; nil: nobody waits for that
}

type heartbeat struct {
	sent    time.Time
	back    bool // it has come back
	reached bool // the server says that it has reached the session: a replica that has it from its primary does not count
}

const beats = 16 // twice what fits into a lease

var (
	errLeaseOver = errors.New("the lease ran out: no heartbeat has come back in time")
	errMoved     = errors.New("the server that commands go to does not know the session")
)

// expired reports whether the locks of the session are lost, by its own clock.
func (s *session) expired() bool {
	until := s.until.Load()
	return until != 0 && int64(time.Since(s.opened)) >= until
}

// take counts a lock that the session has won with a claim that was sent at the
// given time, if that is not 0. mu is held.
func (s *session) take(claimed time.Time) {
	if s.lease.holds++; s.lease.holds == 1 {
		s.until.Store(0)
	}
	if !s.node.moving && !claimed.IsZero() {
		s.prove(claimed)
	}
}

// drop counts it as gone. mu is held.
func (s *session) drop() {
	if s.lease.holds--; s.lease.holds == 0 {
		s.until.Store(0)
		s.lease.proof = time.Time{}
	}
}

// prove takes in that the server had the subscriptions of the session at the given
// time, or later. mu is held.
func (s *session) prove(at time.Time) {
	if l := &s.lease; l.pongs < l.pings {
		l.proof, l.proofFor = at, l.pings
	} else {
		s.renew(at)
	}
}

// ponged takes in that the server has the answer to a ping.
func (s *session) ponged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lease
	l.pongs++
	if !l.proof.IsZero() && l.pongs >= l.proofFor {
		s.renew(l.proof)
		l.proof = time.Time{}
	}
}

// renew has the lease run from the given time. mu is held.
func (s *session) renew(from time.Time) {
	l := &s.lease
	until := int64(from.Add(s.node.options.lease()).Sub(s.opened))
	if l.holds == 0 || until <= s.until.Load() {
		return
	}
	s.until.Store(until)
	if l.renewed != nil {
		close(l.renewed)
		l.renewed = nil
	}
}

// leased waits until there is a lease.
func (s *session) leased(ctx context.Context) error {
	s.mu.Lock()
	if s.until.Load() != 0 {
		s.mu.Unlock()
		return nil
	}
	if s.lease.renewed == nil {
		s.lease.renewed = make(chan struct{})
	}
	renewed := s.lease.renewed
	s.mu.Unlock()
	s.beat()
	select {
	case <-renewed:
		return nil
	case <-s.done:
		return s.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch sends heartbeats while the session holds locks, and ends it when its lease
// has run out, or when the server does not answer: a command within the read
// timeout of the client, or a PING on an idle session within the unavailable
// timeout.
func (s *session) watch() {
	o := &s.node.options
	every := o.UnavailableTimeout / 8
	if s.node.moving {
		every *= 2
	}
	every = max(min(every, o.HealthCheckInterval/4), time.Millisecond)
	timer := time.NewTimer(every)
	defer timer.Stop()
	silence, unused := silence{since: time.Now()}, unused{since: time.Now()}
	for next := time.Now().Add(every); ; {
		var now time.Time
		select {
		case <-s.done:
			s.node.unlink(s)
			return
		case now = <-timer.C:
		}
		if s.expired() {
			s.end(errLeaseOver)
			continue
		}
		if s.node.options.PortalockerNames {
			unused.look(s, now)
		}
		if !now.Before(next) {
			next = now.Add(every)
			s.beat()
			silence.look(s, now)
		}
		wait := time.Until(next)
		if until := s.until.Load(); until != 0 {
			wait = min(wait, time.Duration(until)-time.Since(s.opened))
		}
		timer.Reset(max(wait, 0))
	}
}

// beat sends a heartbeat.
func (s *session) beat() {
	s.mu.Lock()
	if s.lease.holds == 0 {
		s.mu.Unlock()
		return
	}
	s.lease.last++
	number := s.lease.last
	s.lease.beats[number%beats] = heartbeat{sent: time.Now(), reached: !s.node.moving && s.node.shard == nil}
	s.mu.Unlock()
	text := strconv.FormatUint(number, 10)
	switch {
	case s.node.shard != nil:
		s.beatInShard(number, text)
		return
	case !s.node.moving:
		s.publish(sessionName(s.id), text, s.arrived)
		return
	}
	s.node.running.Go(func() {
		receivers, err := s.node.publishToPrimary(sessionName(s.id), text)
		s.arrived(receivers, err)
		if err == nil {
			s.reached(number)
		}
	})
}

// reached takes in that a heartbeat has reached the session by the primary.
func (s *session) reached(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beaten(number, func(h *heartbeat) { h.reached = true })
}

// beatInShard sends a heartbeat in a Cluster. When another shard has failed, the
// Cluster may refuse all scripts until a replica has taken its place
// (cluster-require-full-coverage). That is no reason to lose locks here: the server
// is asked whether it is on the side of the majority. One that is not does not hear
// from the others, which count as failing then, but not as failed.
func (s *session) beatInShard(number uint64, text string) {
	s.run(nil, beatScript, []string{sessionName(s.id)}, []string{text}, func(_ string, err error) {
		switch {
		case err == nil:
			s.reached(number)
		case hasPrefix(err, "MOVED "):
			s.end(errMoved)
		case hasPrefix(err, "CLUSTERDOWN"):
			s.publish(sessionName(s.id), text, s.arrived)
			s.node.running.Go(func() {
				ctx, cancel := context.WithTimeout(s.node.ctx, s.node.options.lease())
				defer cancel()
				info, err := s.node.client().ClusterInfo(ctx).Result()
				if err == nil && field(info, "cluster_slots_pfail") == "0" && field(info, "cluster_slots_fail") != "0" {
					s.reached(number)
				}
			})
		}
	})
}

// arrived ends the session if a heartbeat has reached a server that does not know
// it.
func (s *session) arrived(receivers int, err error) {
	if err == nil && receivers == 0 {
		s.end(errMoved)
	}
}

// publishToPrimary publishes a message on the server that is the primary now.
func (n *node) publishToPrimary(channel, text string) (receivers int, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, n.options.lease())
	defer cancel()
	c := redis.NewClient(n.ownOptions())
	defer func() { _ = c.Close() }()
	reached, err := c.Publish(ctx, channel, text).Result()
	return int(reached), err
}

// heard takes in a heartbeat that has come back. mu is held.
func (s *session) heard(text string) {
	if number, err := strconv.ParseUint(text, 10, 64); err == nil {
		s.beaten(number, func(h *heartbeat) { h.back = true })
	}
}

// beaten takes in what became of a heartbeat. mu is held.
func (s *session) beaten(number uint64, became func(*heartbeat)) {
	l := &s.lease
	if number == 0 || number > l.last || l.last-number >= beats {
		return
	}
	h := &l.beats[number%beats]
	became(h)
	if h.back && h.reached {
		s.prove(h.sent)
	}
}

// A silence is how long nothing has come from the server.
type silence struct {
	heard      uint64
	since      time.Time
	pinged     time.Time // since when a PING was seen to have no answer
	unanswered time.Time // since when other commands were
}

func (q *silence) look(s *session, now time.Time) {
	if h := s.wire.heard.Load(); h != q.heard {
		*q = silence{heard: h, since: now}
		return
	}
	if q.unanswered.IsZero() && s.wire.unanswered() > 0 {
		q.unanswered = now
	}
	o := &s.node.options
	switch {
	case !q.pinged.IsZero() && now.Sub(q.pinged) >= o.UnavailableTimeout,
		!q.unanswered.IsZero() && now.Sub(q.unanswered) >= limit(s.node.user.ReadTimeout):
		s.end(fmt.Errorf("no answer for %v", now.Sub(q.since).Round(time.Millisecond)))
	case q.pinged.IsZero() && q.unanswered.IsZero() && now.Sub(q.since) >= o.HealthCheckInterval:
		q.pinged = now
		s.wire.send(command{words: []string{"PING"}, done: func(_ reply, err error) {
			if errors.As(err, new(serverError)) {
				s.node.log.Debug("PING denied, which is an answer too", "session", s.id, "error", err)
			}
		}})
	}
}
