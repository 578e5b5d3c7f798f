//go:build linux

package chaos

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A proxy is the network between a process and the server.
type proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond         // when what follows changes
	silent  [2]bool            // guarded by mu: nothing comes through, by way
	delay   time.Duration      // guarded by mu: of all that does
	links   map[*link]struct{} // guarded by mu
	closed  bool               // guarded by mu
}

// A way is the direction in which something goes.
type way int

const (
	up   way = iota // to the server
	down            // to the client
)

// A link is a connection of a client, and the one to the server that belongs to it.
type link struct {
	client, server net.Conn
	left           bool // guarded by proxy.mu: the client is gone, and the server does not know
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, listener: l, links: make(map[*link]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(c) })
	}
}

// connect connects a client with the server.
func (p *proxy) connect(client net.Conn) {
	p.pass(up)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.closed {
		reset(client, server)
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.forward(l, up) })
	both.Go(func() { p.forward(l, down) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
	p.changed.Broadcast()
}

// forward forwards what goes one way, until a side closes its connection, and then
// tells the other one, at the time when it would hear of it.
func (p *proxy) forward(l *link, w way) {
	from, to := l.client, l.server
	if w == down {
		from, to = to, from
	}
	for b := make([]byte, 1<<16); ; {
		n, err := from.Read(b)
		p.pass(w)
		if n > 0 {
			if _, failed := to.Write(b[:n]); err == nil {
				err = failed
			}
		}
		if err == nil {
			continue
		}
		p.mu.Lock()
		left := l.left
		p.mu.Unlock()
		switch {
		case left && w == up: // the server is not told
			return
		case left && n > 0: // nobody listens to it
			continue
		}
		_, _ = to.Close(), from.Close()
		return
	}
}

// pass returns when what goes this way comes through.
func (p *proxy) pass(w way) {
	p.mu.Lock()
	for p.silent[w] && !p.closed {
		p.changed.Wait()
	}
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
}

// cut has nothing come through some ways, or all again; the connections stay open.
func (p *proxy) cut(ways ...way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = [2]bool{}
	for _, w := range ways {
		p.silent[w] = true
	}
	p.changed.Broadcast()
}

// slow delays everything.
func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// reset resets all connections at both ends.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		reset(l.client, l.server)
	}
}

// leave resets all connections of clients, and does not tell the server.
func (p *proxy) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.left = true
		reset(l.client)
	}
}

// left tells the server of the clients that have left.
func (p *proxy) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.left {
			reset(l.server)
		}
	}
}

func reset(conns ...net.Conn) {
	for _, c := range conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// owns reports whether the server knows a client of p by an address.
func (p *proxy) owns(addr string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.server.LocalAddr().String() == addr {
			return true
		}
	}
	return false
}

// clients returns how many connections clients have.
func (p *proxy) clients() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !l.left {
			n++
		}
	}
	return n
}

func (p *proxy) close() { // also once more
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	for l := range p.links {
		reset(l.client, l.server)
	}
	p.mu.Unlock()
	p.running.Wait()
}
