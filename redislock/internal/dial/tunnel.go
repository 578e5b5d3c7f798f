package dial

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A tunnel is a connection that knows no deadlines, as one through ssh. Where they would
// have ended a Read or a Write, it is closed.
type tunnel struct {
	net.Conn
	late  atomic.Bool // it was closed for that
	mu    sync.Mutex
	read  *time.Timer // guarded by mu: to close it; nil: no deadline
	write *time.Timer // guarded by mu
}

// withDeadlines returns a connection that has deadlines, and whether it had none.
func withDeadlines(conn net.Conn) (_ net.Conn, tunneled bool) {
	if conn.SetDeadline(time.Time{}) == nil {
		return conn, false
	}
	return &tunnel{Conn: conn}, true
}

func (t *tunnel) set(timer **time.Timer, deadline time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if !deadline.IsZero() {
		*timer = time.AfterFunc(time.Until(deadline), func() {
			t.late.Store(true)
			_ = t.Conn.Close()
		})
	}
}

func (t *tunnel) SetReadDeadline(deadline time.Time) error {
	t.set(&t.read, deadline)
	return nil
}

func (t *tunnel) SetWriteDeadline(deadline time.Time) error {
	t.set(&t.write, deadline)
	return nil
}

func (t *tunnel) SetDeadline(deadline time.Time) error {
	t.set(&t.read, deadline)
	t.set(&t.write, deadline)
	return nil
}

// why returns the error of a Read or a Write.
func (t *tunnel) why(err error) error {
	if err != nil && t.late.Load() {
		return os.ErrDeadlineExceeded
	}
	return err
}

func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	return n, t.why(err)
}

func (t *tunnel) Write(b []byte) (int, error) {
	n, err := t.Conn.Write(b)
	return n, t.why(err)
}

func (t *tunnel) Close() error {
	t.set(&t.read, time.Time{})
	t.set(&t.write, time.Time{})
	return t.Conn.Close()
}
