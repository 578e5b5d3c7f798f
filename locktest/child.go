package locktest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// A child is another process with a Locker on the same place: the test binary
// again, which serve turns into one.
type child struct {
	p     *place
	cmd   *exec.Cmd
	stdin io.WriteCloser
	other output        // what it printed besides replies
	ended chan struct{} // closed when its stdout has ended
	last  int           // ID of a request

	mu    sync.Mutex
	calls map[int]*call // guarded by mu: those that have not ended
}

// spawn starts a child, which ends with the subtest.
func (p *place) spawn() *child {
	p.Helper()
	c := &child{p: p, cmd: p.command(), ended: make(chan struct{}), calls: make(map[int]*call)}
	c.cmd.Stderr = &c.other
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		p.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	c.stdin = stdin
	ready := c.expect(readyID, "a child process starts")
	if err := c.cmd.Start(); err != nil {
		p.Fatalf("a child process does not start: %v", err)
	}
	p.Cleanup(c.stop)
	go c.read(stdout)
	ready.done()
	return c
}

// command returns the command that runs the test that called Run, and nothing
// else, as a child.
func (p *place) command() *exec.Cmd {
	p.Helper()
	value, err := json.Marshal(role{p.caller, p.addr})
	if err != nil {
		p.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		p.Fatal(err)
	}
	elements := strings.Split(p.caller, "/")
	for i, element := range elements {
		elements[i] = "^" + regexp.QuoteMeta(element) + "$"
	}
	args := []string{"-test.run=" + strings.Join(elements, "/"), "-test.count=1", "-test.timeout=5m"}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.Command(binary, append(args, flag.Args()...)...)
	cmd.Env = append(os.Environ(), childVariable+"="+string(value),
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0") // else each takes 1 s to end, with -race
	cmd.WaitDelay = 5 * time.Second // for what its own children keep open
	return cmd
}

// stop has the child close its Locker and end.
func (c *child) stop() {
	c.p.Helper()
	if c.cmd.ProcessState == nil { // not killed before
		_ = c.stdin.Close()
		select {
		case <-c.ended:
		case <-time.After(c.p.patience()):
			c.p.Errorf("a child process has not ended after %v", c.p.patience())
			_ = c.cmd.Process.Kill()
		}
		if err := c.cmd.Wait(); err != nil {
			c.p.Errorf("a child process failed: %v", err)
		}
	}
	if c.p.Failed() {
		c.p.Logf("what a child process printed:\n%s", c.other.String())
	}
}

// kill kills the child with SIGKILL, and returns when it has ended.
func (c *child) kill() {
	c.p.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.p.Fatal(err)
	}
	_ = c.cmd.Wait() // says that it was killed
}

// read takes the child's replies to the calls until stdout ends.
func (c *child) read(stdout io.Reader) {
	defer close(c.ended)
	for lines := bufio.NewReader(stdout); ; {
		line, err := lines.ReadString('\n')
		var r reply
		if value, ok := strings.CutPrefix(line, replyPrefix); ok && json.Unmarshal([]byte(value), &r) == nil {
			c.answer(r)
		} else {
			_, _ = c.other.Write([]byte(line))
		}
		if err != nil {
			return
		}
	}
}

func (c *child) answer(r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[r.ID]
	switch {
	case call == nil:
	case r.Waiting:
		close(call.waits)
	default:
		call.reply = r
		close(call.ended)
		delete(c.calls, r.ID)
	}
}

// A call is what the child was asked to do.
type call struct {
	c     *child
	id    int
	what  string
	waits chan struct{} // closed when it is an Acquire that waits
	ended chan struct{} // closed when there is a reply
	reply reply         // set before
}

func (c *child) expect(id int, what string) *call {
	call := &call{c: c, id: id, what: what, waits: make(chan struct{}), ended: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[id] = call
	return call
}

func (c *child) send(what string, r request) *call {
	c.p.Helper()
	c.last++
	r.ID = c.last
	call := c.expect(r.ID, what)
	line, err := json.Marshal(r)
	if err == nil {
		_, err = c.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		c.p.Fatalf("a child process cannot be asked: %v", err)
	}
	return call
}

// acquire starts an Acquire that waits, try one that does not.
func (c *child) acquire(name string) *call {
	c.p.Helper()
	return c.send("Acquire", request{Op: opAcquire, Name: name, Timeout: c.p.patience()})
}

func (c *child) try(name string) *call {
	c.p.Helper()
	return c.send("Acquire", request{Op: opAcquire, Name: name})
}

func (c *child) release(lock childLock) {
	c.p.Helper()
	c.send("Release", request{Op: opRelease, Lock: lock.id}).done()
}

// count starts the function of that name in the child.
func (c *child) count(name, file string, rounds int) *call {
	c.p.Helper()
	return c.send("counting", request{Op: opCount, Name: name, File: file, Rounds: rounds, Timeout: c.p.patience()})
}

// waiting returns the call when its Acquire waits, which it must.
func (a *call) waiting() *call {
	a.c.p.Helper()
	a.c.p.awaitWait(a.waits, a.ended)
	select {
	case <-a.ended:
		a.c.p.Fatalf("Acquire in a child process ended with the error %q, want it to wait: another holds the lock", a.reply.Error)
	default:
	}
	return a
}

func (a *call) result() reply {
	a.c.p.Helper()
	select {
	case <-a.ended:
	case <-a.c.ended:
		a.c.p.Fatalf("%s: the child process has ended", a.what)
	case <-time.After(a.c.p.patience()):
		a.c.p.Fatalf("%s: no reply of the child process after %v", a.what, a.c.p.patience())
	}
	return a.reply
}

// done checks that the call had no error.
func (a *call) done() reply {
	a.c.p.Helper()
	r := a.result()
	if r.Error != "" {
		a.c.p.Fatalf("%s in a child process: %s", a.what, r.Error)
	}
	return r
}

// A childLock is a lock that a child holds.
type childLock struct {
	id    int
	token uint64
}

func (a *call) lock() childLock {
	a.c.p.Helper()
	return childLock{a.id, a.done().Token}
}

// isRefused checks that the Acquire found the lock held.
func (a *call) isRefused() {
	a.c.p.Helper()
	if r := a.result(); !r.Held {
		a.c.p.Errorf("%s in a child process: token %d, error %q, want %v", a.what, r.Token, r.Error, locker.ErrAlreadyLocked)
	}
}

// An output is written to by the child and read when it has failed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.buf.String())
}
