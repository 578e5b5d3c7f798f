//go:build linux

package chaos

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock"
)

const (
	freeBy   = 2 * time.Second // after the end of a trial, every lock is free
	patience = 20 * time.Second
)

// finish ends the faults and the load, and returns what went wrong in the trial.
func (tr *trial) finish() []problem {
	tr.t.Helper()
	tr.heal()
	tr.endLoad()
	tr.checkFree()
	tr.close()
	tr.checkLeft()
	tr.problems = append(tr.problems, tr.history.check(tr.unavailable*3/4)...)
	return tr.problems
}

// endLoad ends what acquires, after which nothing is held.
func (tr *trial) endLoad() {
	tr.t.Helper()
	var all sync.WaitGroup
	for _, r := range tr.routes {
		if r.child == nil {
			continue
		}
		all.Go(func() {
			if !r.child.endLoad(patience) {
				tr.report(stalled, "the load of process %d does not end: %v", r.child.process, r.child.end(patience))
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tr.own.quiet()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		tr.t.Fatalf("the load of this process does not end:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
	all.Wait()
}

// checkFree checks that every lock can be had by somebody new.
func (tr *trial) checkFree() {
	tr.t.Helper()
	client := newClient(address{Addr: tr.server.Addr}, tr.broken)
	defer client.Close()
	l, err := redislock.New(client, &redislock.Options{UnavailableTimeout: tr.unavailable, SettleTime: settleTime})
	if err != nil {
		tr.t.Fatal(err)
	}
	process := tr.processes
	tr.processes++
	var all sync.WaitGroup
	for i, name := range tr.names {
		all.Go(func() {
			e := event{Kind: acquired, Process: process, Hold: i + 1, Name: name, From: now()}
			lock, err := l.Acquire(context.Background(), name, locker.WithTimeout(freeBy))
			e.Until = now()
			if err != nil {
				tr.report(notFree, "%v: %s\n%s", err, tr.history.around(name, e.From, e.Until), tr.state(name))
				return
			}
			e.Token = lock.Token()
			tr.history.add(e)
			e.Kind, e.From = ended, now()
			if err := lock.Release(context.Background()); err != nil {
				tr.report(misbehaved, "%v", err)
			}
			e.Until = now()
			tr.history.add(e)
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		tr.report(misbehaved, "Close: %v", err)
	}
}

// state returns what the server knows of a lock.
func (tr *trial) state(name string) string {
	ctx := context.Background()
	var channels []string
	for _, channel := range tr.client.PubSubChannels(ctx, "*").Val() {
		if strings.HasPrefix(channel, name) {
			channels = append(channels, channel)
		}
	}
	return fmt.Sprintf("holder %q\nqueue %q\nchannels %q\nclients\n%s", tr.client.Get(ctx, name+":locker:holder").Val(),
		tr.client.LRange(ctx, name+":locker:queue", 0, -1).Val(), channels, tr.client.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Val())
}

// close closes all Lockers.
func (tr *trial) close() {
	tr.own.close()
	var all sync.WaitGroup
	for _, r := range tr.routes {
		if r.child == nil || r.child.cmd.ProcessState != nil {
			continue
		}
		all.Go(func() {
			if err := r.child.end(patience); err != nil {
				tr.report(leaked, "%v", err)
			}
		})
	}
	all.Wait()
}

// checkLeft checks that nothing is left: no connection, no channel, and no key
// that would stay for ever.
func (tr *trial) checkLeft() {
	tr.t.Helper()
	for i, r := range tr.routes {
		if r.proxy != nil {
			tr.vanish(fmt.Sprint("connections on route ", i), func() int { return r.proxy.clients() })
			r.proxy.close() // and with it those that clients have left
		}
	}
	ctx := context.Background()
	tr.vanish("clients of the server", func() int {
		list := tr.client.ClientList(ctx).Val()
		return strings.Count(list, "\n") - strings.Count(list, " name="+ownName+" ")
	})
	tr.vanish("channels", func() int { return len(tr.client.PubSubChannels(ctx, "*").Val()) })
	for _, key := range tr.client.Keys(ctx, "*").Val() {
		if ttl := tr.client.TTL(ctx, key).Val(); ttl == -1 {
			tr.report(leaked, "the key %q has no expiry", key)
		}
	}
}

// vanish checks that a number comes down to 0.
func (tr *trial) vanish(what string, count func() int) {
	deadline := time.Now().Add(patience)
	for count() != 0 {
		if time.Now().After(deadline) {
			tr.report(leaked, "%d %s", count(), what)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
