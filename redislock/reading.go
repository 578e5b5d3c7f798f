package redislock

import (
	"bufio"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Who reads what comes in on a wire: the goroutine of read, as long as the wire lives;
// but a caller that waits for an answer reads it itself, if nobody else does just then
// (help). That saves two changes of goroutines, and of threads, which take as long as
// all else that a free lock costs in the process. So read rests when such a caller has
// had its answer, as it may soon have another question. It goes on as soon as there is
// something that nobody else reads, and when there was nothing for a while; and at once
// when a lock was acquired that is likely to be held for longer, as the one before it was.
// Where others want the locks it does not rest: what they have to say is to be heard at
// once.
type reading struct {
	mu     sync.Mutex // held by the one who reads
	from   *bufio.Reader
	list   []reply // of a push, to use again
	rests  atomic.Bool
	goOn   chan struct{} // has read rest no more
	left   chan struct{} // a caller has read
	wanted atomic.Bool   // a caller would have read, if not for read
	began  time.Time
	latest atomic.Int64 // when a caller has read: nanoseconds since began, as the next two
	far    atomic.Int64 // until when callers do not read
	busy   atomic.Int64 // until when read does not rest
}

const (
	// restTime is how long nobody may read, so that a holder may hear late of its loss,
	// which SettleTime has to cover; and how long a caller may when read is to go on, so
	// that its ctx has to wait for twice that at most. A timer that ends before the kernel's next
	// tick, which comes every 4 ms on most machines, has the kernel set the hardware's each
	// time that a caller waits for its answer: in a virtual machine that took 20 us of a
	// pair's 70 (2 ms: 71, 4: 59, 5: 51, 6 to 1000: 49, client and server on one processor).
	restTime = 5 * time.Millisecond
	// farTime is how long callers do not read when an answer has taken longer.
	farTime = time.Second
	// busyTime is how long read does not rest when somebody has wanted a lock that
	// another holds.
	busyTime = time.Second
)

func (r *reading) begin(from *bufio.Reader) {
	r.from, r.goOn, r.left, r.began = from, make(chan struct{}, 1), make(chan struct{}, 1), time.Now()
}

// read reads until the wire ends, and returns why.
func (w *wire) read() error {
	r := &w.reading
	timer := time.NewTimer(restTime)
	defer timer.Stop()
	for {
		w.takeOver(timer)
		err := w.readOn()
		r.mu.Unlock()
		if err != nil {
			return err
		}
		r.rests.Store(true)
		if w.unanswered() == 0 { // else whose answer it is may have found r.mu locked
			r.rest(timer)
		}
		r.rests.Store(false)
	}
}

// readOn reads until it can rest.
func (w *wire) readOn() error {
	r := &w.reading
	for {
		answered, err := w.readNext()
		if err != nil {
			return err
		}
		if answered && r.from.Buffered() == 0 && w.unanswered() == 0 && r.wanted.Swap(false) && r.isOver(&r.busy) {
			return nil
		}
	}
}

// rest waits until read has to go on.
func (r *reading) rest(timer *time.Timer) {
	for wait := restTime; wait > 0; wait = restTime - r.now() + time.Duration(r.latest.Load()) {
		timer.Reset(wait)
		select {
		case <-r.goOn:
			return
		case <-timer.C:
		}
	}
}

// takeOver locks r.mu for read. A caller that reads has some time yet: its answer may
// take longer than it can be kept.
func (w *wire) takeOver(timer *time.Timer) {
	r := &w.reading
	if r.mu.TryLock() {
		return
	}
	timer.Reset(restTime)
	for {
		select {
		case <-r.left:
			if r.mu.TryLock() {
				return
			}
		case <-timer.C:
			_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // what is wrong, Read will say
			r.mu.Lock()
			_ = w.conn.SetReadDeadline(time.Time{})
			return
		}
	}
}

// resume has read go on.
func (r *reading) resume() {
	if r.rests.Load() {
		r.goesOn()
	}
}

// goesOn has read go on, also if it is just about to rest.
func (r *reading) goesOn() {
	select {
	case r.goOn <- struct{}{}:
	default:
	}
}

func (r *reading) now() time.Duration { return time.Since(r.began) }

func (r *reading) isOver(until *atomic.Int64) bool { return int64(r.now()) >= until.Load() }

// isBusy has read not rest for a while.
func (r *reading) isBusy() { r.busy.Store(int64(r.now() + busyTime)) }

// help reads until what the caller waits for is there, as done says, or for a short
// time.
func (w *wire) help(done func() bool) {
	r := &w.reading
	if _, tunneled := w.conn.(*tunnel); tunneled || !r.isOver(&r.far) { // from a tunnel, nobody can be called back
		r.resume()
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
		b, _ := r.from.Peek(r.from.Buffered())
		if _, whole := cutValue(b, 0); !whole {
			break // the rest of it may take longer
		}
		_, err = w.readNext()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.far.Store(int64(r.now() + farTime))
		err = w.conn.SetReadDeadline(time.Time{})
	}
	more := r.from.Buffered() > 0
	r.latest.Store(int64(r.now()))
	r.mu.Unlock()
	select {
	case r.left <- struct{}{}:
	default:
	}
	if err != nil {
		w.fail(err)
	}
	if more || w.unanswered() > 0 { // whose answer it is may have found r.mu locked
		r.resume()
	}
}

// readNext reads a value, and takes it in. It reports whether an answer has come.
func (w *wire) readNext() (answered bool, err error) {
	r := &w.reading
	v, err := readReplyWith(r.from, 0, r.list)
	if err != nil {
		return false, err
	}
	w.heard.Add(1)
	if v.kind == '>' {
		r.list = v.list
	}
	if !v.isPush(w.resp3) {
		return true, w.answer(v)
	}
	kind := pushKind(&v)
	if kind == "message" {
		w.message(v.list[1].text, &v.list[2])
		return false, nil
	}
	return true, w.confirm(kind, &v)
}
