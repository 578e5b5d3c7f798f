package server

import "sync"

// A gate lets so many through at once; the others wait in line. The zero value is open.
type gate struct {
	mu     sync.Mutex
	inside int      // guarded by mu
	line   []func() // guarded by mu
}

// enter calls begin, now or when it is its turn. No more than limit are inside at once, each
// until it leaves. begin must not block: it may be called by one who leaves.
func (g *gate) enter(limit int, begin func()) {
	g.mu.Lock()
	if g.inside >= limit {
		g.line = append(g.line, begin)
		g.mu.Unlock()
		return
	}
	g.inside++
	g.mu.Unlock()
	begin()
}

// leave lets the next one in.
func (g *gate) leave() {
	g.mu.Lock()
	if len(g.line) == 0 {
		g.inside--
		g.mu.Unlock()
		return
	}
	begin := g.line[0]
	g.line[0] = nil
	if g.line = g.line[1:]; len(g.line) == 0 {
		g.line = nil // it may have been long
	}
	g.mu.Unlock()
	begin()
}
