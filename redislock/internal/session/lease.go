package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golocker/locker/redislock/internal/dial"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// A lease is how long the locks of a session are good for without new proof that
// the server still has its subscriptions, and that the session is not taken for a
// hung one. It is what closes Done before anyone else is granted the lock
// (invariant 2): a contender has a holder disconnected who has not answered its
// ping for the unavailable timeout, and the lease, three quarters of that, runs
// from before the ping.
//
// Proof is a heartbeat: the session writes a key of its own, locker:session:<sid>. A
// replica refuses that, so that a session whose server was demoted, and keeps its
// connections, hears of it at once. It counts from when it was sent, and only when all
// pings that came in before its answer have been answered: the session may read, and yet
// be unable to answer. A claim is proof, too.
//
// With RESP3, the heartbeat goes by the connection that has the subscriptions: its answer
// is proof of both. With RESP2 it goes by the client, whose connection may lead to another
// server, where the address moves from one to the other. So there is a message to the
// session's own channel with it, by the same connection, which has to be counted there, and
// to come back.
//
// A heartbeat is sent eight times in an unavailable timeout, so that a holder whose
// machine stops for half of it keeps its locks.
//
// Where Sentinel says which server is the primary, the session may be on a former
// one. There a heartbeat, with the message, goes by a connection of its own, opened for
// it, to the primary of that moment; and a claim is no proof. As each costs a connection,
// there are half as many. In a Cluster, only the primary of a shard takes the key.
//
// A server that refuses the write for another reason, such as a full memory, was reached
// all the same.
//
// That it runs out in time is taken for granted in protocol.pml: a change here asks
// for a look there.
type lease struct {
	holds    int              // the locks that need it
	ticks    uint64           // the times for a heartbeat that have passed
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
	written bool // the primary has taken it
	known   bool // and knows the session
	back    bool // which has heard of that by its own connection
}

const (
	beats        = 16 // twice what fits into a lease
	waitingBeats = 4  // a session that only waits sends one of so many
)

var (
	errLeaseOver = errors.New("the lease ran out: no heartbeat has come back in time")
	errSilent    = errors.New("the server does not answer")
)

// expired reports whether the locks of the session are lost, by its own clock.
func (s *session) expired() bool {
	until := s.until.Load()
	return until != 0 && int64(time.Since(s.opened)) >= until
}

// take counts a lock that the session has won with a claim that was asked for at the
// given time. It is proof unless that is long ago, as it has waited in line, or the session
// was frozen: then a heartbeat has to be. mu is held.
func (s *session) take(claimed time.Time) {
	if s.lease.holds++; s.lease.holds == 1 {
		s.until.Store(0)
	}
	if !s.server.Moving && time.Since(claimed) < s.env.Options.Lease()/2 && (s.fast || s.lease.holds == 1) { // by the client, it says nothing of what the session reads
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
	until := int64(from.Add(s.env.Options.Lease()).Sub(s.opened))
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
	if s.until.Load() != 0 {
		return nil
	}
	s.mu.Lock()
	if s.until.Load() != 0 {
		s.mu.Unlock()
		return nil
	}
	first := s.lease.renewed == nil
	if first {
		s.lease.renewed = make(chan struct{})
	}
	renewed := s.lease.renewed
	s.mu.Unlock()
	if first {
		s.beat()
	}
	select {
	case <-renewed:
		return nil
	case <-s.done:
		return s.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beatCommand is a heartbeat. It is answered with the one before.
func (s *session) beatCommand(text string) []string {
	return []string{"SET", protocol.SessionChannel(s.id), text, "PX", strconv.FormatInt(max(1, 2*s.env.Options.UnavailableTimeout.Milliseconds()), 10), "GET"}
}

// beat sends a heartbeat. A session that only waits sends fewer: no more depends on them
// than that it does not wait at a server that was demoted.
func (s *session) beat() {
	s.mu.Lock()
	s.lease.ticks++
	if s.lease.holds == 0 && (len(s.members) == 0 || s.lease.ticks%waitingBeats != 0) {
		s.mu.Unlock()
		return
	}
	s.lease.last++
	number := s.lease.last
	s.lease.beats[number%beats] = heartbeat{sent: time.Now()}
	s.mu.Unlock()
	text := strconv.FormatUint(number, 10)
	write := server.Request{Words: s.beatCommand(text), Done: func(before string, err error) { s.wrote(number, before, err) }}
	message := server.Request{Words: []string{s.server.Scheme.Publish(), protocol.SessionChannel(s.id), text}, Done: func(receivers string, err error) { s.arrived(number, receivers, err) }}
	switch {
	case s.server.Moving:
		s.env.Running.Go(func() {
			c := s.server.NewClient()
			defer func() { _ = c.Close() }()
			s.server.Pipeline(c, []server.Request{write, message})
		})
	case s.fast:
		s.command(write.Done, write.Words...)
	default:
		s.byClient(write, message)
	}
}

// wrote takes in what a server has answered to a heartbeat.
func (s *session) wrote(number uint64, before string, err error) {
	switch code := resp.Code(err); {
	case err == nil:
		s.accepted(number)
		if before == "" { // the data is gone, or there was no heartbeat for a while
			s.renewKeys()
		}
	case code == "MOVED":
		s.end(errMoved)
	case code == "CLUSTERDOWN":
		s.askCluster(number)
	case resp.IsDemotion(err):
		s.end(fmt.Errorf("%w: %w", resp.ErrDemoted, err))
	case code != "":
		// It has refused to write. One that was demoted may have another reason, too.
		s.command(func(info string, err error) {
			if err == nil && dial.Field(info, "role") == "slave" {
				s.end(resp.ErrDemoted)
			} else if err == nil || resp.Code(err) != "" {
				s.accepted(number)
			}
		}, "INFO", "replication")
	}
}

// accepted takes in that the primary has answered a heartbeat. Where it has come by the
// session's own connection, that is all that is to be known.
func (s *session) accepted(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beaten(number, func(h *heartbeat) {
		h.written = true
		if s.fast && !s.server.Moving {
			h.known, h.back = true, true
		}
	})
}

// arrived takes in how many sessions of that channel the server knows that has published a
// heartbeat's message.
func (s *session) arrived(number uint64, receivers string, err error) {
	switch {
	case err != nil:
	case receivers == "0":
		s.end(errMoved)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.beaten(number, func(h *heartbeat) { h.known = true })
	}
}

// askCluster asks a server of a Cluster that refuses what has keys, as when another shard
// has failed (cluster-require-full-coverage), until a replica has taken its place. That is
// no reason to lose locks here, if the server is on the side of the majority. One that is
// not does not hear from the others, which count as failing then, but not as failed.
func (s *session) askCluster(number uint64) {
	s.env.Running.Go(func() {
		ctx, cancel := context.WithTimeout(s.env.Ctx, s.env.Options.Lease())
		defer cancel()
		info, err := s.server.Client().ClusterInfo(ctx).Result()
		if err == nil && dial.Field(info, "cluster_slots_pfail") == "0" && dial.Field(info, "cluster_slots_fail") != "0" {
			s.accepted(number)
		}
	})
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
	if h.written && h.known && h.back {
		s.prove(h.sent)
	}
}
