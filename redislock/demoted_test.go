package redislock_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// A moving address leads to one server, and then to another: new connections alone, as
// with a virtual IP, a proxy, or the Service of a Kubernetes.
type moving struct {
	listener net.Listener
	delay    time.Duration // of all that is said
	mu       sync.Mutex
	target   string         // guarded by mu
	conns    sync.WaitGroup // that are open
}

func startMoving(t *testing.T, target string) *moving {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &moving{listener: listener, target: target}
	m.conns.Go(m.serve)
	t.Cleanup(func() {
		listener.Close()
		m.conns.Wait()
	})
	return m
}

func (m *moving) addr() string { return m.listener.Addr().String() }

func (m *moving) moveTo(target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.target = target
}

func (m *moving) serve() {
	for {
		client, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		target := m.target
		m.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			m.conns.Go(func() {
				m.copy(pair[0], pair[1])
				client.Close()
				server.Close()
			})
		}
	}
}

// copy passes on what is said, each part after the delay.
func (m *moving) copy(to io.Writer, from io.Reader) {
	type part struct {
		text []byte
		due  time.Time
	}
	parts := make(chan part, 1<<16)
	m.conns.Go(func() {
		defer close(parts)
		for {
			b := make([]byte, 1<<14)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			parts <- part{b[:n], time.Now().Add(m.delay)}
		}
	})
	for p := range parts {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.text); err != nil {
			return
		}
	}
}

// A planned failover of a server behind an address that moves: the former primary is a
// replica that keeps its connections. Its holder is told before the next one holds, and its
// Locker works at the new primary; so does one that waits.
func TestDemotedPrimary(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 2
	}
	protocols(t, func(t *testing.T, protocol int) {
		servers := [2]*redistest.Server{redistest.Start(t), redistest.Start(t)}
		address := startMoving(t, servers[0].Addr)
		client := func() *redis.Client {
			return redistest.Client(t, address.addr(), func(o *redis.Options) { o.Protocol = protocol })
		}
		var slowest time.Duration
		var told, held []time.Duration // since the failover
		for round := range rounds {
			from, to := servers[0], servers[1]
			host, port, _ := strings.Cut(from.Addr, ":")
			to.Do("REPLICAOF", host, port)
			poll(t, "the replica to follow", func() bool { return strings.Contains(to.Do("INFO", "replication").(string), "master_link_status:up") })
			a, b, c := openWith(t, client(), nil), openWith(t, client(), nil), openWith(t, client(), nil)
			lock := acquire(t, a, "n")
			type got struct {
				lock locker.Lock
				lost bool
			}
			next := make(chan got, 1)
			await := func(l locker.Locker) {
				lock2, err := l.Acquire(context.Background(), "n", locker.WithTimeout(bound))
				if err != nil {
					t.Error(err)
					next <- got{}
					return
				}
				select {
				case <-lock.Done():
					next <- got{lock2, true}
				default:
					next <- got{lock2, false}
				}
			}
			go await(b)
			queued(t, from, "n", 1)
			poll(t, "the replica to have the hints", func() bool { return to.Do("EXISTS", "n:locker:holder") == int64(1) })

			to.Do("REPLICAOF", "NO", "ONE")
			address.moveTo(to.Addr)
			host, port, _ = strings.Cut(to.Addr, ":")
			from.Do("REPLICAOF", host, port)
			demoted := time.Now()
			heard := make(chan time.Duration, 1)
			go func() {
				<-lock.Done()
				heard <- time.Since(demoted)
			}()
			if round%2 == 0 { // else it notices by itself
				release(t, acquire(t, a, "other"))
				slowest = max(slowest, time.Since(demoted))
			}
			go await(c) // it comes after the failover
			for i := range 2 {
				g := <-next
				if i == 0 && round%2 == 1 {
					held = append(held, time.Since(demoted))
				}
				if g.lock == nil {
					t.FailNow()
				}
				if !g.lost || lock.Err() == nil {
					t.Fatalf("another holds the lock, and the first holder is not told: Err %v", lock.Err())
				}
				release(t, g.lock)
			}
			release(t, acquire(t, a, "other"))
			if info := inspect(t, a, "n"); info.Held {
				t.Errorf("Inspect of the new primary: %+v", info)
			}
			if round%2 == 1 {
				told = append(told, <-heard)
			}
			servers[0], servers[1] = to, from
			a.Close()
			b.Close()
			c.Close()
		}
		t.Logf("a holder that does nothing is told after %v, the next one holds after %v, and the holder's Locker has worked again after %v at the most",
			summary(told), summary(held), slowest)
		if slowest > bound {
			t.Errorf("that took %v", slowest)
		}
	})
}

// summary returns the mean of durations, and the longest.
func summary(d []time.Duration) string {
	var sum time.Duration
	for _, one := range d {
		sum += one
	}
	return fmt.Sprintf("%v (%v)", (sum / time.Duration(max(1, len(d)))).Round(time.Millisecond), slices.Max(append(d, 0)).Round(time.Millisecond))
}
