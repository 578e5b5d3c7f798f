package locktest

import (
	"path/filepath"
	"testing"

	"github.com/golocker/locker"
)

func (s suite) token(t *testing.T) {
	s.test(t, "Grows", tokenGrows)
	s.test(t, "GrowsOverLockers", tokenGrowsOverLockers)
	s.test(t, "GrowsOverReopening", tokenGrowsOverReopening)
	s.test(t, "GrowsInTheQueue", tokenGrowsInTheQueue)
	s.processes(t, "GrowsOverProcesses", tokenGrowsOverProcesses)
}

// A growing token is greater each time.
type growing struct {
	p    *place
	last uint64
	any  bool
}

func (g *growing) next(token uint64) {
	g.p.Helper()
	if g.any && token <= g.last {
		g.p.Errorf("Token() = %d after %d, want a greater one", token, g.last)
	}
	g.last, g.any = token, true
}

func tokenGrows(p *place) {
	l := p.open()
	daily, weekly := growing{p: p}, growing{p: p}
	for range 20 {
		daily.next(p.isFree(l, name))
		daily.next(p.isFree(l, name))
		weekly.next(p.isFree(l, "weekly-report"))
	}
}

func tokenGrowsOverLockers(p *place) {
	lockers := []locker.Locker{p.open(), p.open(), p.open()}
	tokens := growing{p: p}
	for range 5 {
		for _, l := range lockers {
			tokens.next(p.isFree(l, name))
		}
	}
}

func tokenGrowsOverReopening(p *place) {
	tokens := growing{p: p}
	for range 5 {
		a, b := p.open(), p.open()
		tokens.next(p.isFree(a, name))
		tokens.next(p.isFree(b, name))
		tokens.next(p.acquire(a, name).Token())
		p.close(a)
		p.close(b)
	}
}

func tokenGrowsInTheQueue(p *place) {
	a, b := p.open(), p.open()
	held := p.acquire(a, name, quick)
	tokens := growing{p: p}
	for i := range 20 {
		tokens.next(held.Token())
		waiter := p.start([]locker.Locker{a, a, b}[i%3], name, quick).waiting()
		p.release(held)
		held = waiter.lock()
	}
	p.release(held)
}

func tokenGrowsOverProcesses(p *place) {
	l, c := p.open(), p.spawn()
	tokens := growing{p: p}
	for range 3 {
		tokens.next(p.isFree(l, name))
		got := c.acquire(name).lock()
		tokens.next(got.token)
		c.release(got)
	}
	file := filepath.Join(p.TempDir(), "count") // with the token in it
	c.count(name, file, 3).done()
	_, token, err := readCount(file)
	if err != nil {
		p.Fatal(err)
	}
	tokens.next(token)
	tokens.next(p.isFree(l, name))
}
