package conn

import (
	"bufio"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/redislock/internal/resp"
)

// Who reads what comes in on a Conn: the goroutine of Read, as long as it lives;
// but a caller that waits for an answer reads it itself, if nobody else does just then
// (Help). That saves two changes of goroutines, and of threads, which take as long as
// all else that a free lock costs in the process. So Read rests when such a caller has
// had its answer, as it may soon have another question. It goes on as soon as there is
// something that nobody else reads, and when there was nothing for a while; and at once
// when a lock was acquired that is likely to be held for longer, as the one before it was.
// Where others want the locks it does not rest: what they have to say is to be heard at
// once.
type reading struct {
	mu     sync.Mutex // held by the one who reads
	from   *bufio.Reader
	list   []resp.Value // of a push, to use again
	rests  atomic.Bool
	goOn   chan struct{} // has Read rest no more
	left   chan struct{} // a caller has read
	wanted atomic.Bool   // a caller would have read, if not for Read
	began  time.Time
	latest atomic.Int64 // when a caller has read: nanoseconds since began, as the next two
	far    atomic.Int64 // until when callers do not read
	busy   atomic.Int64 // until when Read does not rest
}

const (
	// RestTime is how long nobody may read, so that a holder may hear late of its loss,
	// which SettleTime has to cover; and how long a caller may when Read is to go on, so
	// that its ctx has to wait for twice that at most. A timer that ends before the kernel's next
	// tick, which comes every 4 ms on most machines, has the kernel set the hardware's each
	// time that a caller waits for its answer: in a virtual machine that took 20 us of a
	// pair's 70 (2 ms: 71, 4: 59, 5: 51, 6 to 1000: 49, client and server on one processor).
	RestTime = 5 * time.Millisecond
	// farTime is how long callers do not read when an answer has taken longer.
	farTime = time.Second
	// busyTime is how long Read does not rest when somebody has wanted a lock that
	// another holds.
	busyTime = time.Second
)

func (r *reading) begin(from *bufio.Reader) {
	r.from, r.goOn, r.left, r.began = from, make(chan struct{}, 1), make(chan struct{}, 1), time.Now()
}

// Read reads until the connection ends, and returns why.
func (c *Conn) Read() error {
	r := &c.reading
	timer := time.NewTimer(RestTime)
	defer timer.Stop()
	for {
		c.takeOver(timer)
		err := c.readOn()
		r.mu.Unlock()
		if err != nil {
			return err
		}
		r.rests.Store(true)
		if c.Unanswered() == 0 { // else whose answer it is may have found r.mu locked
			r.rest(timer)
		}
		r.rests.Store(false)
	}
}

// readOn reads until it can rest.
func (c *Conn) readOn() error {
	r := &c.reading
	for {
		answered, err := c.readNext()
		if err != nil {
			return err
		}
		if answered && r.from.Buffered() == 0 && c.Unanswered() == 0 && r.wanted.Swap(false) && r.isOver(&r.busy) {
			return nil
		}
	}
}

// rest waits until Read has to go on.
func (r *reading) rest(timer *time.Timer) {
	for wait := RestTime; wait > 0; wait = RestTime - r.now() + time.Duration(r.latest.Load()) {
		timer.Reset(wait)
		select {
		case <-r.goOn:
			return
		case <-timer.C:
		}
	}
}

// takeOver locks r.mu for Read. A caller that reads has some time yet: its answer may
// take longer than it can be kept.
func (c *Conn) takeOver(timer *time.Timer) {
	r := &c.reading
	if r.mu.TryLock() {
		return
	}
	timer.Reset(RestTime)
	for {
		select {
		case <-r.left:
			if r.mu.TryLock() {
				return
			}
		case <-timer.C:
			_ = c.config.Net.SetReadDeadline(time.Unix(1, 0)) // what is wrong, Read will say
			r.mu.Lock()
			_ = c.config.Net.SetReadDeadline(time.Time{})
			return
		}
	}
}

// Resume has Read go on.
func (c *Conn) Resume() {
	if c.reading.rests.Load() {
		c.GoOn()
	}
}

// GoOn has Read go on, also if it is just about to rest.
func (c *Conn) GoOn() {
	r := &c.reading
	select {
	case r.goOn <- struct{}{}:
	default:
	}
}

func (r *reading) now() time.Duration { return time.Since(r.began) }

func (r *reading) isOver(until *atomic.Int64) bool { return int64(r.now()) >= until.Load() }

// Busy has Read not rest for a while.
func (c *Conn) Busy() { c.reading.busy.Store(int64(c.reading.now() + busyTime)) }

// Help reads until what the caller waits for is there, as done says, or for a short
// time.
func (c *Conn) Help(done func() bool) {
	r := &c.reading
	if c.config.NoHelp || !r.isOver(&r.far) {
		c.Resume()
		return
	}
	if !r.mu.TryLock() {
		r.wanted.Store(true)
		return
	}
	var err error
	for err == nil && (!done() || r.from.Buffered() > 0) {
		if _, err = r.from.Peek(1); err != nil {
			break
		}
		if b, _ := r.from.Peek(r.from.Buffered()); !resp.IsWhole(b) {
			break // the rest of it may take longer
		}
		_, err = c.readNext()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.far.Store(int64(r.now() + farTime))
		err = c.config.Net.SetReadDeadline(time.Time{})
	}
	more := r.from.Buffered() > 0
	r.latest.Store(int64(r.now()))
	r.mu.Unlock()
	select {
	case r.left <- struct{}{}:
	default:
	}
	if err != nil {
		c.config.Fail(err)
	}
	if more || c.Unanswered() > 0 { // whose answer it is may have found r.mu locked
		c.Resume()
	}
}

// readNext reads a value, and takes it in. It reports whether an answer has come.
func (c *Conn) readNext() (answered bool, err error) {
	r := &c.reading
	v, err := resp.ReadUsing(r.list, r.from)
	if err != nil {
		return false, err
	}
	c.heard.Add(1)
	if v.Kind == '>' {
		r.list = v.List
	}
	if !v.IsPush(c.resp3) {
		return true, c.answer(v)
	}
	kind := v.PushKind()
	if kind == "message" {
		c.config.Message(v.List[1].Text, &v.List[2])
		return false, nil
	}
	return true, c.confirm(kind, &v)
}
