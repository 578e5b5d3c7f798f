//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A blow is a fault, as it is planned.
type blow struct {
	What  string
	Route int           // whom it hits, if it does not hit all
	For   time.Duration // how long; 0: a moment
	Ways  []way         // of a cut
	Ours  bool          // which end of the cable
	Delay time.Duration
}

// What can happen.
const (
	killSession = "CLIENT KILL of the session"
	killAll     = "CLIENT KILL of all connections"
	resetLinks  = "connections reset"
	leaveLinks  = "connections reset, unknown to the server"
	cutLinks    = "partition"
	slowLinks   = "latency"
	stopProcess = "SIGSTOP"
	killProcess = "SIGKILL"
	unplug      = "cable out"
	restart     = "restart"
	flushAll    = "FLUSHALL"
	flushScript = "SCRIPT FLUSH"
	rest        = "rest"
)

func (b blow) String() string {
	s := b.What
	switch b.What {
	case restart, flushAll, flushScript, rest:
	default:
		s += fmt.Sprint(" on route ", b.Route)
	}
	if b.For > 0 {
		s += fmt.Sprint(" for ", b.For)
	}
	if b.What == cutLinks {
		s += " of what goes" + map[bool]string{true: " up"}[slices.Contains(b.Ways, up)] + map[bool]string{true: " down"}[slices.Contains(b.Ways, down)]
	}
	if b.What == unplug {
		s += map[bool]string{true: " at our end", false: " at its end"}[b.Ours]
	}
	if b.Delay > 0 {
		s += fmt.Sprint(" of ", b.Delay)
	}
	return s
}

// A step is the beginning or the end of a blow.
type step struct {
	at   time.Duration // after the beginning
	blow blow
	ends bool
}

func (s step) String() string {
	if s.ends {
		return s.blow.String() + ": over"
	}
	return s.blow.String()
}

// A routing is what lies between a process and the server, and can fail.
type routing struct {
	proxied, child, plugged bool
}

// A planner draws the faults of a trial. It leaves out what no lock on Redis can
// withstand, and the documentation of redislock says so: that the server frees a
// lock, the holder does not hear of it, and nothing is left that has the next one
// wait for the holder's lease. This is
//   - a connection closed by the server (killed, reset) whose client does not hear
//     of it within the settling time, as it is stopped or cut off;
//   - the same by a restart, if n:locker:holder is gone, too: after FLUSHALL it does not
//     name those who hold a lock until they have released it, or somebody has asked.
//
// A client that is cut off for so long that a waiter has the server close its
// connection is no such case: its lease has ended before.
type planner struct {
	random      *rand.Rand
	routes      []routing
	lease       time.Duration
	unavailable time.Duration
	longest     time.Duration // that a lock is held, and until that is over

	at       time.Duration
	deaf     []time.Duration // by route: until when it may not hear
	slow     []time.Duration // by route
	closed   time.Duration   // when the server last closed connections
	restarts time.Duration   // when it was last restarted
	nameless time.Duration   // until when there may be holders that n:locker:holder does not name
	combine  bool            // what comes next goes with what came last
	steps    []step
}

const (
	margin   = 100 * time.Millisecond // for what is done later than planned
	maxDelay = 20 * time.Millisecond  // less than the settling time
)

// plan draws the faults of a trial that lasts that long.
func plan(seed uint64, lasts, unavailable, longest time.Duration, routes []routing) []step {
	p := &planner{
		random: rand.New(rand.NewPCG(seed, 1)), routes: routes,
		lease: unavailable * 3 / 4, unavailable: unavailable, longest: longest + 2*margin,
		deaf: make([]time.Duration, len(routes)), slow: make([]time.Duration, len(routes)),
		closed: -time.Hour, restarts: -time.Hour,
	}
	for p.at = 3 * margin; p.at < lasts; {
		b := p.draw()
		if p.combine && p.random.IntN(2) == 0 {
			b.What, b.For = restart, upTo(p.random, margin/4) // which some do not hear of
		}
		p.combine = false
		if !p.allowed(b) {
			p.at += time.Millisecond
			continue
		}
		p.add(b)
		gap := 300 * time.Millisecond
		if p.random.IntN(3) == 0 {
			gap = 10 * time.Millisecond
		}
		p.at += upTo(p.random, gap)
	}
	slices.SortStableFunc(p.steps, func(a, b step) int { return int(a.at - b.at) })
	return p.steps
}

func (p *planner) draw() blow {
	b := blow{Route: p.random.IntN(len(p.routes))}
	// Of those who hear nothing for a while, some keep their locks, some lose their
	// lease, and some are disconnected.
	lasts := upTo(p.random, p.unavailable/2)
	switch p.random.IntN(3) {
	case 0:
		lasts = p.lease + upTo(p.random, p.unavailable/2)
	case 1:
		lasts = p.unavailable + upTo(p.random, 3*p.unavailable/2)
	}
	b.What = p.what()
	switch b.What {
	case cutLinks:
		b.For, b.Ways = lasts, [][]way{{up}, {down}, {up, down}}[p.random.IntN(3)]
	case slowLinks:
		b.For, b.Delay = lasts, time.Millisecond+upTo(p.random, maxDelay-time.Millisecond)
	case stopProcess, leaveLinks:
		b.For = lasts
	case unplug:
		b.For, b.Ours = lasts, p.random.IntN(2) == 0
	case restart:
		b.For = upTo(p.random, 300*time.Millisecond)
	}
	return b
}

// what draws what is to happen.
func (p *planner) what() string {
	kinds := []struct {
		what   string
		weight int
	}{
		{killSession, 16}, {killAll, 6}, {resetLinks, 10}, {leaveLinks, 3}, {cutLinks, 10}, {slowLinks, 4}, {stopProcess, 10},
		{killProcess, 3}, {unplug, 20}, {restart, 4}, {flushAll, 1}, {flushScript, 1},
	}
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	n := p.random.IntN(sum)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k.what
		}
	}
	panic("unreachable")
}

func (p *planner) allowed(b blow) bool {
	r, hears := p.routes[b.Route], p.at >= p.deaf[b.Route]
	named := p.at >= p.nameless
	told := p.at >= p.closed+margin
	switch b.What {
	case killSession, killAll:
		return hears && named
	case resetLinks:
		return r.proxied && hears && named
	case leaveLinks: // the client hears of it, and the server later
		return r.proxied && hears
	case cutLinks:
		return r.proxied && hears && told
	case slowLinks:
		return r.proxied && hears && p.at >= p.slow[b.Route]
	case stopProcess:
		return r.child && hears && told
	case killProcess:
		return r.child && hears
	case unplug:
		return r.plugged && hears && told
	case restart:
		all := true
		for _, until := range p.deaf {
			all = all && p.at >= until
		}
		return p.at >= p.restarts+2*p.unavailable+500*time.Millisecond && (named || all && b.For > 2*margin)
	case flushAll: // seldom: it keeps other faults away
		return p.at >= p.closed+settleTime+margin && p.at >= p.restarts+p.lease+2*margin && p.at >= p.nameless+time.Second
	}
	return true
}

func (p *planner) add(b blow) {
	p.steps = append(p.steps, step{at: p.at, blow: b})
	over := p.at + b.For
	switch b.What {
	case killSession, killAll, resetLinks:
		p.closed = p.at
	case restart:
		p.at = over
		p.closed, p.restarts = p.at, p.at
	case slowLinks:
		p.slow[b.Route] = over
		p.steps = append(p.steps, step{over, b, true})
	case leaveLinks:
		p.steps = append(p.steps, step{over, b, true})
	case cutLinks, stopProcess, unplug:
		p.deaf[b.Route] = over + margin
		if b.What == unplug {
			// What was sent meanwhile is sent again after a while only, which has
			// doubled each time.
			p.deaf[b.Route] += b.For + 2*margin
		}
		p.combine = true
		if p.at < p.nameless {
			p.nameless = max(p.nameless, p.deaf[b.Route]+p.longest)
		}
		p.steps = append(p.steps, step{over, b, true})
	case flushAll:
		p.nameless = p.at
		for _, until := range p.deaf {
			p.nameless = max(p.nameless, until)
		}
		p.nameless += p.longest
	}
}
