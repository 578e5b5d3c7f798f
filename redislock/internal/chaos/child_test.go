//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childVariable makes the test binary a child: a process with a load of its own.
// Its value is the setting, in JSON.
const childVariable = "REDISLOCK_CHAOS_CHILD"

// sayQuiet on the standard input of a child ends its load; the end of the input
// has it close its Lockers and end.
const sayQuiet = "quiet"

// serve is what a child does.
func serve(value string) int {
	var mu sync.Mutex // guards the standard output
	out := json.NewEncoder(os.Stdout)
	tell := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(e)
	}
	var s setting
	err := json.Unmarshal([]byte(value), &s)
	var l *load
	if err == nil {
		l, err = start(s, tell)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tellNow := func(k kind, text string) {
		e := event{Kind: k, Process: s.Process, From: now(), Text: text}
		e.Until = e.From
		tell(e)
	}
	in := bufio.NewScanner(os.Stdin)
	asked := in.Scan()
	l.quiet()
	tellNow(quiet, "")
	if asked {
		in.Scan()
	}
	l.close()
	if err := goleak.Find(); err != nil {
		tellNow(wrong, err.Error())
	}
	if left := connections(); left > 0 {
		tellNow(wrong, fmt.Sprintf("%d connections are open after Close", left))
	}
	tellNow(closed, "")
	return 0
}

// connections returns how many sockets this process has.
func connections() (n int) {
	files, _ := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		var st unix.Stat_t
		if unix.Stat("/proc/self/fd/"+f.Name(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			n++
		}
	}
	return n
}

// A child is such a process.
type child struct {
	t       testing.TB
	process int
	cmd     *exec.Cmd
	in      io.WriteCloser
	stderr  bytes.Buffer  // to be read when the child has ended
	quiet   chan struct{} // closed when its load has ended
	ended   chan struct{} // closed when all that it told has been heard
}

// spawn starts a child, with what it is to be run by: nil, or a command that
// becomes the one that follows it.
func spawn(t testing.TB, s setting, by []string, h *history) *child {
	t.Helper()
	value, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Concat(by, []string{binary})
	c := &child{t: t, process: s.Process, cmd: exec.Command(words[0], words[1:]...), quiet: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(value), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		_ = c.cmd.Wait()
	})
	go func() {
		defer close(c.ended)
		for lines := json.NewDecoder(out); ; {
			var e event
			if lines.Decode(&e) != nil {
				return // the last line of a child that was killed may be a part of one
			}
			h.add(e)
			if e.Kind == quiet {
				close(c.quiet)
			}
		}
	}()
	return c
}

// stop stops the process, and returns the time when it did nothing any more.
func (c *child) stop() int64 {
	c.t.Helper()
	if err := c.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, c.cmd.Process.Pid, &info, unix.WSTOPPED, nil)
		if err == nil {
			return now()
		}
		if err != unix.EINTR { //nolint:errorlint // an errno
			c.t.Fatalf("a child process is not stopped: %v", err)
		}
	}
}

// goOn lets the process go on, and returns the time before that.
func (c *child) goOn() int64 {
	c.t.Helper()
	at := now()
	if err := c.cmd.Process.Signal(unix.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
	return at
}

// kill kills the process.
func (c *child) kill() event {
	e := event{Kind: crashed, Process: c.process, From: now()}
	_ = c.cmd.Process.Kill()
	<-c.ended
	_ = c.cmd.Wait()
	e.Until = now()
	return e
}

// endLoad ends the load, and reports whether the child says so in time.
func (c *child) endLoad(within time.Duration) bool {
	_, _ = fmt.Fprintln(c.in, sayQuiet)
	select {
	case <-c.quiet:
		return true
	case <-c.ended:
	case <-time.After(within):
		_ = c.cmd.Process.Signal(unix.SIGQUIT) // has it print its goroutines
		<-c.ended
	}
	return false
}

// end ends the child, and returns what is wrong with how it ends.
func (c *child) end(within time.Duration) error {
	_ = c.in.Close()
	select {
	case <-c.ended:
	case <-time.After(within):
		_ = c.cmd.Process.Signal(unix.SIGQUIT)
		<-c.ended
	}
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("process %d: %w\n%s", c.process, err, c.stderr.String())
	}
	return nil
}
