package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Failover is a primary, a replica, and three sentinels that watch them.
type Failover struct {
	Servers []*Server // the primary at first, and the replica

	t         testing.TB
	sentinels []*Server
}

const masterName = "locks"

// StartFailover starts a Failover. A primary that does not answer for half a second
// is replaced.
func StartFailover(t testing.TB) *Failover {
	t.Helper()
	primary := Start(t)
	host, port, _ := net.SplitHostPort(primary.Addr)
	f := &Failover{t: t, Servers: []*Server{primary, Start(t, "--replicaof", host, port)}}
	for range 3 {
		f.sentinels = append(f.sentinels, startSentinel(t, host, port))
	}
	f.await("three sentinels, and a replica", func() bool {
		for _, s := range f.sentinels {
			master := s.master()
			if master["num-other-sentinels"] != "2" || master["num-slaves"] != "1" || master["flags"] != "master" {
				return false
			}
		}
		return f.Replicates()
	})
	return f
}

func startSentinel(t testing.TB, host, port string) *Server {
	t.Helper()
	s := &Server{t: t}
	for range 10 {
		s.Addr = freeAddr(t)
		own, ownPort, _ := net.SplitHostPort(s.Addr)
		config := filepath.Join(t.TempDir(), "sentinel.conf") // which it writes to
		text := fmt.Sprintf("bind %s\nport %s\nsentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %[3]s 500\nsentinel failover-timeout %[3]s 3000\n",
			own, ownPort, masterName, host, port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.run(config, "--sentinel", "--dir", filepath.Dir(config)) {
			t.Cleanup(s.Kill)
			return s
		}
	}
	t.Fatalf("the sentinel does not start:\n%s", s.output)
	return nil
}

// master is what a sentinel knows of the primary.
func (s *Server) master() map[string]string {
	c := redis.NewSentinelClient(&redis.Options{Addr: s.Addr})
	defer c.Close()
	master, _ := c.Master(context.Background(), masterName).Result()
	return master
}

// Primary returns the address of the primary, as the first sentinel knows it.
func (f *Failover) Primary() string {
	master := f.sentinels[0].master()
	return net.JoinHostPort(master["ip"], master["port"])
}

// Client returns a client of the primary, which the test closes. change, if not
// nil, changes its options.
func (f *Failover) Client(change func(*redis.FailoverOptions)) *redis.Client {
	o := f.Options()
	if change != nil {
		change(o)
	}
	c := redis.NewFailoverClient(o)
	f.t.Cleanup(func() { c.Close() })
	return c
}

// Options returns the options of a client of the primary.
func (f *Failover) Options() *redis.FailoverOptions {
	o := &redis.FailoverOptions{MasterName: masterName}
	for _, s := range f.sentinels {
		o.SentinelAddrs = append(o.SentinelAddrs, s.Addr)
	}
	return o
}

// FailOver has the sentinels make the replica the primary, as an operator would.
func (f *Failover) FailOver() {
	f.t.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: f.sentinels[0].Addr})
	defer c.Close()
	f.await("the failover begins", func() bool { return c.Failover(context.Background(), masterName).Err() == nil })
}

// AwaitPrimary waits until another server than the one at addr is the primary, for
// all sentinels.
func (f *Failover) AwaitPrimary(not string) {
	f.t.Helper()
	f.await("another primary", func() bool {
		for _, s := range f.sentinels {
			master := s.master()
			if net.JoinHostPort(master["ip"], master["port"]) == not {
				return false
			}
		}
		return true
	})
}

// At returns the server at addr.
func (f *Failover) At(addr string) *Server {
	for _, s := range f.Servers {
		if s.Addr == addr {
			return s
		}
	}
	f.t.Fatalf("no server at %s", addr)
	return nil
}

// Replicates reports whether one of the servers is a primary and the other its
// replica, up to date.
func (f *Failover) Replicates() bool {
	roles := ""
	for _, s := range f.Servers {
		info, _ := s.Do("INFO", "replication").(string)
		if strings.Contains(info, "role:master") && strings.Contains(info, "state=online") {
			roles += "p"
		}
		if strings.Contains(info, "master_link_status:up") {
			roles += "r"
		}
	}
	return roles == "pr" || roles == "rp"
}

func (f *Failover) await(what string, cond func() bool) {
	f.t.Helper()
	for start := time.Now(); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 2*patience {
			f.t.Fatalf("%s: not within %v", what, 2*patience)
		}
	}
}
