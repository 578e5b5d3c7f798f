//go:build linux

package chaos

import (
	"context"
	"strings"
	"time"
)

// A route is the way from a Locker to the server.
type route struct {
	proxy   *proxy     // nil: none
	veth    *namespace // nil: it is in ours
	child   *child     // nil: it is in this process
	stopped int64      // since when the child is stopped; 0: it is not
}

// strike runs the steps, each as long after the one before as is planned.
func (tr *trial) strike(steps []step) {
	last := time.Duration(0)
	for _, s := range steps {
		if wait := s.at - last; wait > 0 {
			time.Sleep(wait)
		}
		last = s.at
		from := now()
		if s.ends {
			tr.end(s.blow)
		} else {
			tr.begin(s.blow)
		}
		tr.history.add(event{Kind: struck, From: from, Until: now(), Text: s.String()})
	}
}

// begin begins a fault.
func (tr *trial) begin(b blow) {
	tr.t.Helper()
	r := tr.routes[b.Route]
	switch b.What {
	case killSession, killAll:
		tr.kill(r, b.What == killAll)
	case resetLinks:
		r.proxy.reset()
	case leaveLinks:
		r.proxy.leave()
	case cutLinks:
		r.proxy.cut(b.Ways...)
	case slowLinks:
		r.proxy.slow(b.Delay)
	case stopProcess:
		r.stopped = r.child.stop()
	case killProcess:
		tr.history.add(r.child.kill())
		tr.spawn(b.Route)
	case unplug:
		r.veth.plug(b.Ours, "down")
	case restart:
		tr.server.Kill()
		time.Sleep(b.For)
		tr.server.Restart()
	case flushAll:
		tr.server.Do("FLUSHALL")
	case flushScript:
		tr.server.Do("SCRIPT", "FLUSH")
	}
}

// end ends a fault.
func (tr *trial) end(b blow) {
	tr.t.Helper()
	r := tr.routes[b.Route]
	switch b.What {
	case cutLinks:
		r.proxy.cut()
	case slowLinks:
		r.proxy.slow(0)
	case leaveLinks:
		r.proxy.left()
	case stopProcess:
		if r.stopped != 0 {
			tr.history.add(event{Kind: stopped, Process: r.child.process, From: r.stopped, Until: r.child.goOn()})
			r.stopped = 0
		}
	case unplug:
		r.veth.plug(b.Ours, "up")
	}
}

// heal ends all faults.
func (tr *trial) heal() {
	tr.t.Helper()
	for i, r := range tr.routes {
		if r.proxy != nil {
			r.proxy.cut()
			r.proxy.slow(0)
			r.proxy.left()
		}
		if r.child != nil {
			tr.end(blow{What: stopProcess, Route: i})
		}
		if r.veth != nil {
			r.veth.plug(true, "up")
			r.veth.plug(false, "up")
		}
	}
}

// kill has the server close the connections of a route: those of sessions, or all.
func (tr *trial) kill(r *route, all bool) {
	ctx := context.Background()
	list, err := tr.client.ClientList(ctx).Result()
	if err != nil {
		tr.t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		fields := make(map[string]string)
		for word := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(word, "=")
			fields[key] = value
		}
		if fields["name"] == ownName || tr.routeOf(fields["addr"]) != r || !all && !strings.HasPrefix(fields["name"], "locker:session:") {
			continue
		}
		if err := tr.client.ClientKillByFilter(ctx, "ID", fields["id"]).Err(); err != nil {
			tr.t.Fatal(err)
		}
	}
}

// routeOf returns the route whose client has an address.
func (tr *trial) routeOf(addr string) *route {
	for _, r := range tr.routes {
		if r.proxy != nil && r.proxy.owns(addr) || r.veth != nil && strings.HasPrefix(addr, r.veth.peerAddr+":") {
			return r
		}
	}
	return tr.routes[0]
}
