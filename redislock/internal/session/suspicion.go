package session

import (
	"context"
	"maps"
	"time"

	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
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

// A suspicion is whom a waiter believes to hang.
type suspicion struct {
	of      protocol.Obstacle
	since   time.Time         // when the server had passed on the first ping that was not answered
	present map[string]string // names of connections by id, before that; of those who may be meant, where it is not known who
	heard   map[string]bool   // session ids of those who have answered since; and protocol.Foreign
	answers int               // to the latest ping
	began   time.Time         // where it is not known who is meant: when that was first seen
	asked   time.Time         // when a holder was last asked to restore its hint
}

// maxHeard bounds how many answers are kept: who answers is not trusted.
const maxHeard = 64

// answered takes in that somebody has answered a ping. session.mu is held.
func (d *suspicion) answered(who string) {
	if d.heard == nil {
		d.heard = make(map[string]bool)
	}
	if len(d.heard) < maxHeard {
		d.heard[who] = true
	}
	d.answers++
}

// settled reports whether those who are meant have answered.
func (d *suspicion) settled() bool {
	switch d.of.Role {
	case protocol.Nobody:
		return true
	case protocol.Unknown:
		return d.answers >= d.of.Receivers
	default:
		return d.heard[d.of.SID]
	}
}

// clear ends a suspicion. session.mu is held.
func (d *suspicion) clear() { *d = suspicion{asked: d.asked} }

// beginPoll forgets a suspicion that an answer has cleared. session.mu is held.
func (d *suspicion) beginPoll() {
	if d.settled() {
		d.clear()
	}
	d.answers = 0
}

// A verdict is what a poll has led to.
type verdict struct {
	again bool          // look again now
	evict string        // and take this session's place in the queue away
	after time.Duration // look again no later than that; 0: no matter
}

// judge decides what becomes of those who keep m from the lock, after a poll.
// In protocol.pml, too: a change here asks for one there.
func (m *member) judge(ctx context.Context, of protocol.Obstacle) verdict {
	s := m.session
	patience := s.env.Options.UnavailableTimeout
	if of.Timeout > 0 {
		patience = of.Timeout
	}
	s.mu.Lock()
	d := &m.suspect
	mayBeSlow := of.Role == protocol.Unknown && d.suspects(of, patience)
	search := !mayBeSlow && of.Role == protocol.Unknown && d.present == nil
	if !mayBeSlow && !search {
		d.goesOn(of)
	}
	matter := *d
	matter.heard = maps.Clone(d.heard)
	s.mu.Unlock()

	switch {
	case mayBeSlow:
		return verdict{after: patience / 4}
	case search:
		return m.suspectOthers(ctx, of)
	case matter.of.Role == protocol.Nobody:
		return verdict{}
	}
	if left := patience - time.Since(matter.since); left > 0 {
		return verdict{after: left}
	}
	s.mu.Lock()
	d.clear()
	s.mu.Unlock()
	if of.Role == protocol.Head {
		s.env.Log.Warn("waiter does not take its turn: put out of the queue", "lock", m.name, "session", of.SID)
		return verdict{again: true, evict: of.SID}
	}
	return verdict{again: m.disconnect(ctx, matter)}
}

// suspects takes in that it is not known who holds the lock, and reports whether those who
// were pinged have some time yet to answer, before they are looked for. session.mu is held.
func (d *suspicion) suspects(of protocol.Obstacle, patience time.Duration) bool {
	if d.of.Role != protocol.Unknown {
		*d = suspicion{of: of, heard: d.heard, answers: d.answers, began: time.Now(), asked: d.asked}
		return true
	}
	if d.present == nil && time.Since(d.began) < patience/4 {
		d.of = of
		return true
	}
	return false
}

// goesOn takes in who is in the way now: the time starts again if that is another one. It
// ends the suspicion if those who are meant have answered. session.mu is held.
func (d *suspicion) goesOn(of protocol.Obstacle) {
	switch {
	case of.Role == protocol.Nobody:
		d.clear()
	case of.Role == protocol.Unknown:
		d.of = of
		if d.since.IsZero() {
			d.since = time.Now()
		}
	case of != d.of:
		*d = suspicion{of: of, since: time.Now(), heard: d.heard, asked: d.asked}
	}
	if d.settled() {
		d.clear()
	}
}

// suspectOthers begins a suspicion about whoever is on the channel of the lock, where no
// holder is known, and not all have answered: one who hung while it claimed the lock, or
// a foreign holder.
func (m *member) suspectOthers(ctx context.Context, of protocol.Obstacle) verdict {
	s := m.session
	if !s.env.MayKill() {
		return verdict{}
	}
	present, err := server.Within(ctx, s.env, func() (map[string]string, error) {
		return s.server.Others(ctx, m.channel, m.name, s.id)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	m.suspect.clear()
	if err != nil {
		s.env.TriedToKill(err)
		return verdict{}
	}
	m.suspect.of, m.suspect.present = of, present
	if len(present) == 0 {
		m.suspect.since = time.Now() // nobody that may be cut off: look again when the time has passed
		return verdict{}
	}
	return verdict{again: true} // now that it is known who is there, ping them
}

// disconnect cuts the connections of those who have not answered, and reports
// whether there were any.
func (m *member) disconnect(ctx context.Context, matter suspicion) (killed bool) {
	s := m.session
	if !s.env.MayKill() {
		return false
	}
	killed, err := server.Within(ctx, s.env, func() (killed bool, err error) {
		hung, err := m.hung(ctx, matter)
		if err != nil {
			return false, err
		}
		err = s.server.Kill(ctx, hung, func(id, name string) {
			killed = true
			s.env.Log.Warn("holder does not answer: connection cut", "lock", m.name, "client", id, "name", name, "token", matter.of.Token)
		})
		return killed, err
	})
	s.env.TriedToKill(err)
	return killed
}

// hung returns the connections, by id, of those who have not answered and are still
// there.
func (m *member) hung(ctx context.Context, matter suspicion) (map[string]string, error) {
	sv := m.session.server
	if matter.of.SID != "" {
		// The name of a session is that of one connection only, ever: it was there at
		// the ping if it is there now, also where Redis has begun to count again.
		clients, err := sv.Connections(ctx)
		name := clients[matter.of.Client]
		if !protocol.IsSession(name, matter.of.SID, m.name) {
			return nil, err
		}
		return map[string]string{matter.of.Client: name}, err
	}
	now, err := sv.Others(ctx, m.channel, m.name, m.session.id)
	maps.DeleteFunc(now, func(id, name string) bool {
		return matter.present[id] != name || matter.heard[protocol.Answerer(name, m.name)]
	})
	return now, err
}
