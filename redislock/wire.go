package redislock

import (
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
)

// A wire is the connection of a session: commands of many goroutines go out
// together, and one goroutine at a time reads what comes in, see reading.go. The
// answers come in the order of the commands; for SUBSCRIBE and UNSUBSCRIBE the answer
// is a confirmation a channel. Whatever breaks that order ends the wire.
type wire struct {
	conn         net.Conn
	writeTimeout time.Duration
	fail         func(error)     // called when the connection has failed: it calls end, in the end
	goes         *sync.WaitGroup // of the goroutines that go on with a slow write
	resp3        bool            // set before the reader starts
	sharded      bool            // the channels are those of a shard of a Cluster
	gone         func(string)    // called when the server says unasked that a channel is no longer subscribed
	mark         string          // after the name of a lock's channel: one that is never subscribed
	heard        atomic.Uint64   // how many values came in
	message      func(channel string, payload *reply)
	reading      reading

	mu      sync.Mutex
	err     error               // guarded by mu: why the wire has ended
	out     []byte              // guarded by mu: what is to be written
	written []byte              // guarded by mu: a buffer to use again
	writing bool                // guarded by mu: someone writes, and will write out too
	waiting calls               // guarded by mu: the commands whose answer has not come
	on      map[string]struct{} // guarded by mu: in a Cluster, the channels that are subscribed
}

// A command is what is sent, and what is to be done with the answer.
type command struct {
	words    []string
	channels string // "subscribe" or "unsubscribe": a confirmation for each of words[1:] is the answer
	// done is called once, with the answer or with why there is none, on the
	// goroutine that reads, or on that of the caller: it must not block.
	done func(reply, error)
}

type call struct {
	channels string
	names    []string // of the channels
	left     int      // confirmations that have not come
	done     func(reply, error)
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
	if q.first++; q.first == len(q.all) {
		q.all, q.first = q.all[:0], 0
	} else if q.first >= 64 && 2*q.first >= len(q.all) { // it is never empty
		q.all, q.first = slices.Delete(q.all, 0, q.first), 0
	}
	return c
}

// subscribe returns the command that subscribes to channels, which in a Cluster are
// those of a shard.
func (w *wire) subscribe(done func(reply, error), channels ...string) command {
	return command{slices.Concat([]string{w.shardWord("SUBSCRIBE")}, channels), "subscribe", done}
}

// unsubscribe returns the command that leaves channels of one lock. When the slot of a
// lock moves, the server drops its channels, says so as if it confirmed this, and refuses
// the command. It confirms a channel that was not subscribed, too: with one of these at
// first, what comes before it is no confirmation.
func (w *wire) unsubscribe(done func(reply, error), channels ...string) command {
	if w.sharded {
		channels = slices.Concat([]string{channels[0] + w.mark}, channels)
	}
	return command{slices.Concat([]string{w.shardWord("UNSUBSCRIBE")}, channels), "unsubscribe", done}
}

func (w *wire) shardWord(word string) string {
	if w.sharded {
		return "S" + word
	}
	return word
}

// send sends the commands in one write, in their order, or together with others.
func (w *wire) send(commands ...command) {
	w.sendQuietly(commands...)
	w.reading.resume()
}

// sendQuietly is send for a caller that reads the answer itself: help.
func (w *wire) sendQuietly(commands ...command) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		for _, c := range commands {
			c.done(reply{}, w.err)
		}
		return
	}
	others := w.waiting.len() > 0
	for _, c := range commands {
		w.out = appendCommand(w.out, c.words...)
		entry := call{channels: c.channels, done: c.done}
		if c.channels != "" {
			entry.names, entry.left = c.words[1:], len(c.words)-1
		}
		w.waiting.push(entry)
	}
	mine := !w.writing
	w.writing = true
	w.mu.Unlock()
	if mine {
		if others {
			runtime.Gosched() // they may be about to send, too: with one write for all
		}
		w.flush()
	}
}

// flush writes what is to be written. It does so on the caller's goroutine, which
// is quickest, unless the connection takes it only slowly: a caller's ctx ends its
// wait also then.
func (w *wire) flush() {
	// Only a socket can go on after a write that ran into its deadline.
	if _, socket := w.conn.(syscall.Conn); !socket || !w.writeOut(quickWrite) {
		w.goes.Go(func() { w.writeOut(w.writeTimeout) })
	}
}

// quickWrite is how long a caller may be kept by a write.
const quickWrite = 10 * time.Millisecond

// writeOut writes until there is nothing left to write, and returns false if that
// takes longer than limit a write: then somebody has to go on with it.
func (w *wire) writeOut(limit time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.out) > 0 && w.err == nil {
		b := w.out
		w.out = w.written[:0]
		w.mu.Unlock()
		n, err := 0, w.conn.SetWriteDeadline(time.Now().Add(limit))
		if err == nil {
			n, err = w.conn.Write(b)
		}
		slow := errors.Is(err, os.ErrDeadlineExceeded) && limit < w.writeTimeout
		if err != nil && !slow {
			w.fail(err)
		}
		w.mu.Lock()
		if slow {
			w.out = append(slices.Clone(b[n:]), w.out...)
			return false
		}
		w.written = b
	}
	w.writing = false
	return true
}

// end closes the connection. Every command that has no answer gets err.
func (w *wire) end(err error) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.err = err
	waiting := w.waiting
	w.waiting = calls{}
	w.mu.Unlock()
	_ = w.conn.Close() // it ends either way
	for waiting.len() > 0 {
		waiting.pop().done(reply{}, err)
	}
}

// unanswered returns how many commands have no answer yet.
func (w *wire) unanswered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting.len()
}

// pushKind returns the kind of a push, or "" if it is none that is known.
func pushKind(v *reply) string {
	if len(v.list) != 3 {
		return ""
	}
	kind := v.list[0].text
	if isShardKind(kind) {
		kind = kind[1:]
	}
	switch kind {
	case "message", "subscribe", "unsubscribe":
		return kind
	}
	return ""
}

// answer gives v to the command that it answers.
func (w *wire) answer(v reply) error {
	w.mu.Lock()
	next := w.waiting.head()
	if next == nil {
		w.mu.Unlock()
		return fmt.Errorf("%w: an answer to nothing", errProtocol)
	}
	if next.channels != "" && v.err() == nil {
		w.mu.Unlock()
		return fmt.Errorf("%w: no confirmation of %s", errProtocol, next.channels)
	}
	c := w.waiting.pop()
	err := v.err()
	if c.channels == "unsubscribe" && isRedirect(err) && !slices.ContainsFunc(c.names, w.isOn) {
		err = nil // its slot has moved, and the server has said that it has dropped them
	}
	w.mu.Unlock()
	if err != nil && isDemotion(err) {
		w.fail(fmt.Errorf("%w: %w", errDemoted, err))
	}
	c.done(v, err)
	return nil
}

// isOn reports whether a channel of a shard is subscribed. mu is held.
func (w *wire) isOn(channel string) bool {
	_, on := w.on[channel]
	return on
}

// confirm counts the confirmation of one channel.
func (w *wire) confirm(kind string, v *reply) error {
	if kind == "" {
		return nil // a push that has nothing to do with locks
	}
	channel := v.list[1].text
	w.mu.Lock()
	if w.sharded && kind == "subscribe" {
		w.on[channel] = struct{}{}
	} else if w.sharded {
		delete(w.on, channel)
	}
	next := w.waiting.head()
	if next == nil || next.channels != kind || !slices.Contains(next.names, channel) ||
		w.sharded && kind == "unsubscribe" && next.left == len(next.names) && channel != next.names[0] {
		w.mu.Unlock()
		if w.sharded && kind == "unsubscribe" { // its slot is another shard's now
			w.gone(channel)
			return nil
		}
		return fmt.Errorf("%w: the server confirms %s %q unasked", errProtocol, kind, channel)
	}
	if next.left--; next.left > 0 {
		w.mu.Unlock()
		return nil
	}
	c := w.waiting.pop()
	w.mu.Unlock()
	c.done(reply{}, nil)
	return nil
}
