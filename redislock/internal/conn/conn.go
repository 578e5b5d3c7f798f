// Package conn is a connection with subscriptions: commands of many goroutines go out
// together, and their answers, the confirmations of subscriptions and messages come in.
package conn

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/golocker/locker/redislock/internal/resp"
)

// Config is what a Conn is made of.
type Config struct {
	Net          net.Conn // opened and authenticated
	WriteTimeout time.Duration
	Running      *sync.WaitGroup // of the goroutines that go on with a slow write

	Sharded bool   // the channels are those of a shard of a Cluster
	Mark    string // then, what after the name of a lock's channel is one that is never subscribed
	NoHelp  bool   // nobody can be called back from a Read of Net: only Read reads

	// Fail is called when the connection has failed. It calls End, in the end.
	Fail func(error)
	// Gone is called when the server says unasked that a channel is not subscribed any more.
	Gone func(channel string)
	// Message is called with what is published, on the goroutine that reads. It must not
	// block, nor keep payload.
	Message func(channel string, payload *resp.Value)
}

// A Conn is a connection. One goroutine at a time reads what comes in, see reading.go. The
// answers come in the order of the commands; for SUBSCRIBE and UNSUBSCRIBE the answer
// is a confirmation a channel. Whatever breaks that order ends the Conn.
type Conn struct {
	config  Config
	resp3   bool          // set before Read
	heard   atomic.Uint64 // how many values came in
	reading reading

	mu      sync.Mutex
	err     error               // guarded by mu: why the connection has ended
	out     []byte              // guarded by mu: what is to be written
	written []byte              // guarded by mu: a buffer to use again
	writing bool                // guarded by mu: someone writes, and will write out too
	waiting calls               // guarded by mu: the commands whose answer has not come
	on      map[string]struct{} // guarded by mu: in a Cluster, the channels that are subscribed
}

// New returns a Conn. It is to be greeted, and then read.
func New(c Config) *Conn {
	n := &Conn{config: c, on: make(map[string]struct{})}
	n.reading.begin(bufio.NewReader(c.Net))
	return n
}

// Greet subscribes a channel, sends commands with it in one write, and reads the answers,
// with a time limit for all. It finds out whether the server speaks RESP3.
func (c *Conn) Greet(limit time.Duration, channel string, commands ...Command) error {
	if err := c.config.Net.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	first := c.Subscribe(nil, channel)
	b := resp.AppendCommand(nil, first.Words...)
	for _, next := range commands {
		b = resp.AppendCommand(b, next.Words...)
	}
	if _, err := c.config.Net.Write(b); err != nil {
		return err
	}
	confirmation, err := resp.Read(c.reading.from)
	if err == nil {
		err = confirmation.Err()
	}
	if err != nil {
		return err
	}
	c.resp3 = confirmation.Kind == '>'
	for _, next := range commands {
		answer, err := resp.Read(c.reading.from)
		for err == nil && answer.IsPush(c.resp3) { // what was published
			answer, err = resp.Read(c.reading.from)
		}
		if err != nil {
			return err
		}
		next.Done(answer, answer.Err())
	}
	return c.config.Net.SetDeadline(time.Time{})
}

// RESP3 reports whether commands other than those for subscriptions may be sent.
func (c *Conn) RESP3() bool { return c.resp3 }

// Heard returns how many values have come in.
func (c *Conn) Heard() uint64 { return c.heard.Load() }

// A Command is what is sent, and what is to be done with the answer.
type Command struct {
	Words    []string
	channels string // "subscribe" or "unsubscribe": a confirmation for each of Words[1:] is the answer
	// Done is called once, with the answer or with why there is none, on the
	// goroutine that reads, or on that of the caller: it must not block.
	Done func(resp.Value, error)
}

type call struct {
	channels string
	names    []string // of the channels
	left     int      // confirmations that have not come
	done     func(resp.Value, error)
}

// calls are a queue.
type calls struct {
	all   []call
	first int
}

func (q *calls) len() int    { return len(q.all) - q.first }
func (q *calls) push(c call) { q.all = append(q.all, c) }

// head returns the oldest call, or nil.
func (q *calls) head() *call {
	if q.len() == 0 {
		return nil
	}
	return &q.all[q.first]
}

// pop takes the oldest call out of the queue.
func (q *calls) pop() call {
	c := q.all[q.first]
	q.all[q.first] = call{}
	if q.first++; q.first == len(q.all) && cap(q.all) > maxKept {
		q.all, q.first = nil, 0
	} else if q.first == len(q.all) {
		q.all, q.first = q.all[:0], 0
	} else if q.first >= 64 && 2*q.first >= len(q.all) { // it is never empty
		q.all, q.first = slices.Delete(q.all, 0, q.first), 0
	}
	return c
}

// Subscribe returns the command that subscribes to channels, which in a Cluster are
// those of a shard.
func (c *Conn) Subscribe(done func(resp.Value, error), channels ...string) Command {
	return Command{slices.Concat([]string{c.Word("SUBSCRIBE")}, channels), "subscribe", done}
}

// Unsubscribe returns the command that leaves channels of one lock. When the slot of a
// lock moves, the server drops its channels, says so as if it confirmed this, and refuses
// the command. It confirms a channel that was not subscribed, too: with one of these at
// first, what comes before it is no confirmation.
func (c *Conn) Unsubscribe(done func(resp.Value, error), channels ...string) Command {
	if c.config.Sharded {
		channels = slices.Concat([]string{channels[0] + c.config.Mark}, channels)
	}
	return Command{slices.Concat([]string{c.Word("UNSUBSCRIBE")}, channels), "unsubscribe", done}
}

// Word returns the name of a command on channels, which in a Cluster are those of a shard:
// for "PUBLISH", "SPUBLISH".
func (c *Conn) Word(word string) string {
	if c.config.Sharded {
		return "S" + word
	}
	return word
}

// Send sends the commands in one write, in their order, or together with others.
func (c *Conn) Send(commands ...Command) {
	c.Write(commands...)
	c.Resume()
}

// Write is Send for a caller that calls Help, or Resume.
func (c *Conn) Write(commands ...Command) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		for _, next := range commands {
			next.Done(resp.Value{}, c.err)
		}
		return
	}
	others := c.waiting.len() > 0
	for _, next := range commands {
		c.out = resp.AppendCommand(c.out, next.Words...)
		entry := call{channels: next.channels, done: next.Done}
		if next.channels != "" {
			entry.names, entry.left = next.Words[1:], len(next.Words)-1
		}
		c.waiting.push(entry)
	}
	mine := !c.writing
	c.writing = true
	c.mu.Unlock()
	if mine {
		if others {
			runtime.Gosched() // they may be about to send, too: with one write for all
		}
		c.flush()
	}
}

// flush writes what is to be written. It does so on the caller's goroutine, which
// is quickest, unless the connection takes it only slowly: a caller's ctx ends its
// wait also then.
func (c *Conn) flush() {
	// Only a socket can go on after a write that ran into its deadline.
	if _, socket := c.config.Net.(syscall.Conn); !socket || !c.writeOut(quickWrite) {
		c.config.Running.Go(func() { c.writeOut(c.config.WriteTimeout) })
	}
}

// maxKept is how many bytes, or commands, a buffer may have that is kept.
const maxKept = 1 << 16

// quickWrite is how long a caller may be kept by a write.
const quickWrite = 10 * time.Millisecond

// writeOut writes until there is nothing left to write, and returns false if that
// takes longer than limit a write: then somebody has to go on with it.
func (c *Conn) writeOut(limit time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && c.err == nil {
		b := c.out
		c.out = c.written[:0]
		c.mu.Unlock()
		n, err := 0, c.config.Net.SetWriteDeadline(time.Now().Add(limit))
		if err == nil {
			n, err = c.config.Net.Write(b)
		}
		slow := errors.Is(err, os.ErrDeadlineExceeded) && limit < c.config.WriteTimeout
		if err != nil && !slow {
			c.config.Fail(err)
		}
		c.mu.Lock()
		if slow {
			c.out = append(slices.Clone(b[n:]), c.out...)
			return false
		}
		if c.written = b; cap(b) > maxKept { // it was for a burst
			c.written = nil
		}
	}
	c.writing = false
	return true
}

// End closes the connection. Every command that has no answer gets err.
func (c *Conn) End(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	waiting := c.waiting
	c.waiting = calls{}
	c.mu.Unlock()
	_ = c.config.Net.Close() // it ends either way
	for waiting.len() > 0 {
		waiting.pop().done(resp.Value{}, err)
	}
}

// Unanswered returns how many commands have no answer yet.
func (c *Conn) Unanswered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting.len()
}

// answer gives v to the command that it answers.
func (c *Conn) answer(v resp.Value) error {
	c.mu.Lock()
	next := c.waiting.head()
	if next == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: an answer to nothing", resp.ErrProtocol)
	}
	if next.channels != "" && v.Err() == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: no confirmation of %s", resp.ErrProtocol, next.channels)
	}
	asked := c.waiting.pop()
	err := v.Err()
	if asked.channels == "unsubscribe" && resp.IsRedirect(err) && !slices.ContainsFunc(asked.names, c.isOn) {
		err = nil // its slot has moved, and the server has said that it has dropped them
	}
	c.mu.Unlock()
	if err != nil && resp.IsDemotion(err) {
		c.config.Fail(fmt.Errorf("%w: %w", resp.ErrDemoted, err))
	}
	asked.done(v, err)
	return nil
}

// isOn reports whether a channel of a shard is subscribed. mu is held.
func (c *Conn) isOn(channel string) bool {
	_, on := c.on[channel]
	return on
}

// confirm counts the confirmation of one channel.
func (c *Conn) confirm(kind string, v *resp.Value) error {
	if kind == "" {
		return nil // a push that has nothing to do with locks
	}
	channel := v.List[1].Text
	c.mu.Lock()
	if c.config.Sharded && kind == "subscribe" {
		c.on[channel] = struct{}{}
	} else if c.config.Sharded {
		delete(c.on, channel)
	}
	next := c.waiting.head()
	if next == nil || next.channels != kind || !slices.Contains(next.names, channel) ||
		c.config.Sharded && kind == "unsubscribe" && next.left == len(next.names) && channel != next.names[0] {
		c.mu.Unlock()
		if c.config.Sharded && kind == "unsubscribe" { // its slot is another shard's now
			c.config.Gone(channel)
			return nil
		}
		return fmt.Errorf("%w: the server confirms %s %q unasked", resp.ErrProtocol, kind, channel)
	}
	if next.left--; next.left > 0 {
		c.mu.Unlock()
		return nil
	}
	asked := c.waiting.pop()
	c.mu.Unlock()
	asked.done(resp.Value{}, nil)
	return nil
}
