package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const wireLatency = time.Millisecond // each way

// latencyWorkloads are about a server that is not on the same machine: what counts is
// how often a client waits for an answer.
func latencyWorkloads() []workload {
	return []workload{{
		name:       fmt.Sprintf("redis/free lock, %v away", wireLatency),
		about:      fmt.Sprintf("One goroutine acquires a free lock and releases it, over a connection that takes %v each way, as between data centres: how many round trips it takes.", wireLatency),
		contenders: func() []contender { return of(inRedis) },
		measure: func(ctx context.Context, l *lab, c contender, p places) (_ *measured, err error) {
			proxy, err := newProxy(p.Redis)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, proxy.close()) }()
			p.Redis = proxy.addr()
			return free(ctx, c, p, 1, 0, pick(l, 2*time.Second, 200*time.Millisecond))
		},
	}}
}

// A proxy passes connections on to a server, and what they carry a little later.
type proxy struct {
	listener net.Listener
	server   string
	all      sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // guarded by mu: all that were made
}

func newProxy(server string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, server: server}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			p.pass(c)
		}
	})
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) pass(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	p.delay(client, server)
	p.delay(server, client)
}

// delay carries what from sends to to. When one of them ends, both do.
func (p *proxy) delay(from, to net.Conn) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, 1024)
	p.all.Go(func() {
		defer close(chunks)
		for buf := make([]byte, 64<<10); ; {
			n, err := from.Read(buf)
			if n > 0 {
				chunks <- chunk{append([]byte(nil), buf[:n]...), time.Now().Add(wireLatency)}
			}
			if err != nil {
				return
			}
		}
	})
	p.all.Go(func() {
		defer func() { _, _ = from.Close(), to.Close() }()
		var w io.Writer = to
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := w.Write(c.data); err != nil {
				w = io.Discard // until the reader has noticed
				_ = from.Close()
			}
		}
	})
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
	return err
}
