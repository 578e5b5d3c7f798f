package session

import (
	"context"

	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
)

// stepBack leaves the lock's channel. One who waits has its wait channel before
// it gives up the hold channel: a wake-up always finds one of them.
func (m *member) stepBack(wait bool) {
	s := m.session
	s.mu.Lock()
	var before []conn.Command
	if wait && m.place.queued && !m.place.waits {
		before = append(before, s.conn.Subscribe(s.insistOnWait, m.waitChannel))
	}
	end := m.beginWith()
	s.mu.Unlock()
	m.leaveChannel(wait, func(error) { end() }, before...)
	s.conn.Resume()
}

// leaveChannel leaves the lock's channel, and tells those who wait if the session
// was told of any. It does not block; done is called when others can have the
// lock and the next claim may begin. It is for the caller to call conn.Help, or conn.Resume.
func (m *member) leaveChannel(keepPlace bool, done func(error), before ...conn.Command) {
	s := m.session
	s.mu.Lock()
	channels := []string{m.channel, m.holdChannel}
	stood := m.mayBeGiven()
	if c := m.claim; c != nil {
		if c.gift.won != nil {
			m.passesOn()
		}
		c.gift.mayCome, c.gift.won = false, nil
	}
	if keepPlace && m.place.queued {
		m.place.waits = true
	} else {
		m.leaveQueue()
		m.suspect = suspicion{}
		if m.place.waits {
			channels = append(channels, m.waitChannel)
			m.place.waits = false
		}
	}
	yield := protocol.Ours
	if m.hold != nil || m.asked.by == protocol.LaterPortalocker && !stood { // one that stands by leaves it to the holder
		yield = m.asked.by
	}
	if m.hold != nil {
		m.hold = nil
		s.drop()
	}
	m.enter(leaving)
	tell := m.asked.told || yield != protocol.Ours
	if tell {
		s.noteContended(m.channel)
	}
	s.mu.Unlock()

	left := s.conn.Unsubscribe(func(_ resp.Value, err error) { m.hasLeft(err, yield, tell && s.fast, done) }, channels...)
	before = append(before, left)
	if tell && s.fast {
		s.write(m.release(yield), m.released(func(string, error) {}), before...)
	} else {
		s.conn.Write(before...)
	}
}

// hasLeft takes in that the server has confirmed that the session has left the channel. told
// is whether the script that tells those who wait has been sent with that.
func (m *member) hasLeft(err error, yield protocol.Generation, told bool, done func(error)) {
	s := m.session
	s.mu.Lock()
	m.enter(idle)
	m.claim = nil
	// Who has queued up while the command was on its way is in the queue that the
	// script after it has seen; without one, it runs now.
	tell := (m.asked.told || yield != protocol.Ours) && err == nil && !told
	m.asked.told = false
	s.mu.Unlock()
	s.insist(err)
	if resp.IsRedirect(err) {
		err = nil // the session has ended, and left all its channels
	}
	switch {
	case !tell:
		done(err)
	case s.fast:
		s.run(m.release(yield), m.released(func(string, error) {}))
		done(nil)
	default:
		s.run(m.release(yield), m.released(func(string, error) { done(nil) }))
	}
}

// release is the call that passes the lock on.
func (m *member) release(yield protocol.Generation) protocol.Call {
	return protocol.Release{Channel: m.channel, SID: m.session.id, Asked: yield}.In(m.session.server.Scheme)
}

// released returns what takes in the answer to it, and calls done. If the session is there
// again (a server that did not know the script has run it after the next claim, which may be
// that of another member), it tells those who wait when it leaves.
func (m *member) released(done func(string, error)) func(string, error) {
	return func(text string, err error) {
		if protocol.ReleaseCameLate(text) {
			m.session.mu.Lock()
			if now := m.session.members[m.channel]; now != nil {
				now.asked.told = true
			}
			m.session.mu.Unlock()
		}
		done(text, err)
	}
}

// leave gives up the place in the queue.
func (s *session) leave(ctx context.Context, channel string) {
	m, err := s.idleMember(ctx, nil, channel)
	if err != nil {
		return
	}
	if m == nil {
		s.mu.Unlock()
		return
	}
	queued, stood := m.place.queued, m.phase == standing
	var channels []string
	if stood {
		channels = append(channels, m.channel, m.holdChannel)
		m.claim.gift.mayCome, m.claim.gift.won = false, nil
		m.enter(leaving)
	}
	if m.place.waits {
		channels = append(channels, m.waitChannel)
	}
	m.place.waits, m.suspect = false, suspicion{}
	m.leaveQueue()
	end := m.beginWith()
	s.mu.Unlock()
	left := make(chan answer, 1)
	hasLeft := func(err error) {
		end()
		left <- answer{err: err}
	}
	if stood { // the script is to find it gone, and what it was given meanwhile
		m.leaveChannels(channels, hasLeft)
	}
	if queued {
		call := protocol.Leave{Channel: channel, SID: s.id}.In(s.server.Scheme)
		if _, err := s.ask(ctx, call); err != nil {
			s.env.Log.Debug("place in the queue not left", "lock", m.name, "error", err) // the dead are removed by others
		}
	}
	switch {
	case stood:
	case len(channels) > 0:
		m.leaveChannels(channels, hasLeft)
	default:
		hasLeft(nil)
	}
	_, _ = s.await(ctx, left)
}

// leaveChannels leaves the channels of one who has waited, which may have stood by.
func (m *member) leaveChannels(channels []string, done func(error)) {
	s := m.session
	s.conn.Send(s.conn.Unsubscribe(func(_ resp.Value, err error) {
		s.mu.Lock()
		if m.phase == leaving {
			m.enter(idle)
			m.claim = nil
		}
		m.asked.told = false
		s.mu.Unlock()
		s.insist(err)
		done(err)
	}, channels...))
}
