//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// A trial is a load and faults on a server of its own.
type trial struct {
	makeup
	t         testing.TB
	seed      uint64
	server    *redistest.Server
	client    *redis.Client
	routes    []*route
	processes int
	own       *load // of this process
	history   *history

	mu       sync.Mutex
	problems []problem // guarded by mu
}

// A makeup is what differs from trial to trial, besides the faults.
type makeup struct {
	names       []string
	longest     time.Duration // that a lock is held
	unavailable time.Duration
	protocols   []int // of the routes
	broken      []edit
}

const ownName = "chaos" // of the test's own connections

// The routes of a trial. Those of children come last.
const (
	routeDirect = iota
	routeProxied
	routeProxied2
	routeChild
	routeChild2
	routeNamespace // or a proxy, where there are no namespaces
	routeCount
)

// draw draws a makeup.
func draw(seed uint64) makeup {
	random := rand.New(rand.NewPCG(seed, 0))
	m := makeup{unavailable: []time.Duration{400 * time.Millisecond, time.Second, time.Second}[random.IntN(3)]}
	m.names = []string{"a", "b", "a:h:", "c*[d]?", "\u00fc", "e", "f", "g"}[:2+random.IntN(7)]
	m.longest = []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 3 * m.unavailable, 3 * m.unavailable}[random.IntN(4)]
	for range routeCount {
		m.protocols = append(m.protocols, 2+random.IntN(2))
	}
	return m
}

// newTrial starts a trial.
func newTrial(t testing.TB, seed uint64, m makeup) *trial {
	t.Helper()
	tr := &trial{makeup: m, t: t, seed: seed, history: newHistory()}
	dir := t.TempDir()
	// What the server knows survives a restart: without n:locker:holder, nobody waits for
	// the lease of those who have not heard of the restart.
	args := []string{"--dir", dir, "--appendonly", "yes", "--appendfsync", "no"}
	var veth *namespace
	if namespacesMissing() == "" {
		veth = newNamespace(t)
		args = append(args, "--bind", "127.0.0.1", veth.addr, "--protected-mode", "no")
	}
	tr.server = redistest.Start(t, args...)
	tr.client = tr.server.Client(func(o *redis.Options) { o.ClientName = ownName })
	for i := range routeCount {
		r := &route{}
		switch {
		case i == routeNamespace && veth != nil:
			r.veth = veth
		case i != routeDirect:
			r.proxy = newProxy(t, tr.server.Addr)
		}
		tr.routes = append(tr.routes, r)
	}
	var err error
	s := tr.setting(routeDirect, routeProxied, routeProxied2)
	if tr.own, err = start(s, tr.history.add); err != nil {
		t.Fatal(err)
	}
	for i := routeChild; i < routeCount; i++ {
		tr.spawn(i)
	}
	return tr
}

// setting is that of another process, which has a Locker on each of the routes.
func (tr *trial) setting(routes ...int) setting {
	s := setting{Process: tr.processes, Seed: tr.seed, Names: tr.names, Goroutines: 3, Longest: tr.longest, Unavailable: tr.unavailable, Broken: tr.broken}
	tr.processes++
	for _, i := range routes {
		r, addr := tr.routes[i], tr.server.Addr
		switch {
		case r.proxy != nil:
			addr = r.proxy.addr()
		case r.veth != nil:
			_, port, _ := net.SplitHostPort(addr)
			addr = net.JoinHostPort(r.veth.addr, port)
		}
		s.Servers = append(s.Servers, address{addr, tr.protocols[i]})
	}
	return s
}

// spawn starts a child on a route.
func (tr *trial) spawn(i int) {
	tr.t.Helper()
	var by []string
	if r := tr.routes[i]; r.veth != nil {
		by = r.veth.by()
	}
	tr.routes[i].child = spawn(tr.t, tr.setting(i), by, tr.history)
}

// plan draws the faults of the trial.
func (tr *trial) plan(lasts time.Duration) []step {
	var routes []routing
	for _, r := range tr.routes {
		routes = append(routes, routing{proxied: r.proxy != nil, child: r.child != nil, plugged: r.veth != nil})
	}
	return plan(tr.seed, lasts, tr.unavailable, tr.longest, routes)
}

// report takes in something that went wrong.
func (tr *trial) report(what breach, format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.problems = append(tr.problems, problem{what, fmt.Sprintf(format, args...)})
}

// failFor fails the test if there are problems.
func (tr *trial) failFor(problems []problem) {
	tr.t.Helper()
	tr.summarize()
	for _, p := range problems {
		tr.t.Errorf("%s: %s", p.what, p.text)
	}
}

// summarize logs what happened in a trial.
func (tr *trial) summarize() {
	tr.t.Helper()
	counts := make(map[kind]int)
	lost := 0
	for _, e := range tr.history.all() {
		counts[e.Kind]++
		if e.Kind == ended && strings.Contains(e.Text, locker.ErrLost.Error()) {
			lost++
		}
		if e.Kind == struck {
			tr.t.Logf("%s  %s", tr.history.clock(e.From), e.Text)
		}
	}
	tr.t.Logf("%d names, held for up to %v, unavailable after %v, protocols %v: %d faults, %d holds, %d of them lost, %d Acquires refused, %d processes killed",
		len(tr.names), tr.longest, tr.unavailable, tr.protocols, counts[struck], counts[acquired], lost, counts[refused], counts[crashed])
}
