package redislock

import (
	"strconv"
	"time"

	"github.com/golocker/locker"
)

// A lock that was released may stay subscribed for a while, so that the next Acquire of
// this process costs no round trip (Options.Linger). Nobody holds it then, and the
// session gives it up at once when anybody else wants it:
//
//   - One who waits has said so ("wait"), and is woken.
//   - One who does not wait pings, as n-holder says that the session may linger. A
//     holder answers; a session that lingers leaves, and the claim goes on.
//   - One of portalocker's processes pings, too. It gets an answer, as else it would
//     wait for one for long, and finds the lock free when it looks again.
//
// One who does not wait may be refused if n-holder is lost just then, until the end of
// Linger at the most.
//
// To others it is a lock that is held and then released, and what the session does is
// what it does for a lock that it holds: heartbeats go on, and it may lose the lock. In
// protocol.pml a lock that lingers is one that is held.

// lingering is the state of a lock that may linger. It is guarded by session.mu.
type lingering struct {
	now   bool      // nobody holds the member's hold
	end   time.Time // of now
	timer *time.Timer
	armed bool // the timer is set
}

// lingerMark is the end of a value of n-holder whose session may linger.
const lingerMark = " linger"

// lingerTokens returns how many tokens to reserve for a lock that may linger: at most as
// many as there are microseconds until the next claim. So tokens do not run ahead of the
// server's clock, by which the next one is greater if n-fence is lost. When the lock is
// given up before that, those that are left are taken back: see lower.lua.
func lingerTokens(linger, checkInterval time.Duration) int {
	const most = 4096
	return int(min(most, linger.Microseconds(), checkInterval.Microseconds()))
}

// mayLinger reports whether the lock may linger when it is released: where others were
// seen lately it is not worth the tokens. session.mu is held.
func (m *member) mayLinger(checkInterval time.Duration) bool {
	s := m.session
	return s.node.options.Linger > 0 && s.fast && !s.contendedSince(m.channel, checkInterval)
}

// linger ends h and keeps the lock subscribed, if it may. It reports whether it does.
func (h *hold) linger() bool {
	s := h.session
	linger := s.node.options.Linger
	if linger <= 0 || !s.fast {
		return false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.mayGoOn(now) {
		return false
	}
	h.lost = nil
	l := &h.lingers
	l.now, l.end = true, now.Add(linger)
	if h.until.Before(l.end) {
		l.end = h.until
	}
	if l.armed {
		return true
	}
	l.armed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(l.end.Sub(now), h.lingered)
	} else {
		l.timer.Reset(l.end.Sub(now))
	}
	return true
}

// lingered gives the lock up when it has lingered for its time.
func (m *member) lingered() {
	s := m.session
	s.mu.Lock()
	l := &m.lingers
	l.armed = false
	if !l.now || s.cause != nil {
		s.mu.Unlock()
		return
	}
	if left := time.Until(l.end); left > 0 { // it was held again meanwhile
		l.armed = true
		l.timer.Reset(left)
		s.mu.Unlock()
		return
	}
	end := m.stopLingering()
	s.node.running.Add(1) // as long as the session lives, that is before Close waits
	s.mu.Unlock()
	defer s.node.running.Done()
	m.unsubscribe(s.wire.send, nil, false, func(error) { end() })
}

// stop has the lock not linger, and no timer wait for its end. session.mu is held.
func (l *lingering) stop() {
	l.now = false
	if l.timer != nil && l.timer.Stop() {
		l.armed = false
	}
}

// stopLingering has nobody but the caller, who is to unsubscribe, work on m, until the
// function that it returns is called. session.mu is held.
func (m *member) stopLingering() (end func()) {
	m.lingers.stop()
	return m.beginWith()
}

// resume returns a hold of a lock that lingers. If it must not go on, it is given up.
func (m *member) resume() (locker.Grant, bool) {
	s := m.session
	s.mu.Lock()
	if !m.lingers.now {
		s.mu.Unlock()
		return locker.Grant{}, false
	}
	if m.hold.mayGoOn(time.Now()) {
		defer s.mu.Unlock()
		for !m.hold.inTime(time.Now()) { // a microsecond at most
		}
		m.lingers.now = false
		m.hold = m.hold.next()
		return locker.Grant{Token: m.hold.token, Hold: m.hold}, true
	}
	end := m.stopLingering()
	s.mu.Unlock()
	m.unsubscribe(s.wire.send, nil, false, func(error) { end() })
	return locker.Grant{}, false
}

// wanted gives up a lock that lingers, as somebody else wants it. It returns what is to
// be done without session.mu, which is held, or nil.
func (m *member) wanted() (leave func()) {
	if !m.lingers.now {
		return nil
	}
	end := m.stopLingering()
	return func() { m.unsubscribe(m.session.wire.send, nil, false, func(error) { end() }) }
}

// lowerFence returns the command that takes back the tokens that were reserved for h, which
// ends, and not used. It is to run before what is sent after it, also on a server that does
// not know the script.
func (h *hold) lowerFence(done func(string, error)) command {
	token := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return evaluation("EVAL", lowerScript.on(h.session.node).text, h.keys()[:1], []string{token(h.last), token(h.token)}, done)
}
