package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/internal/programtest"
	"github.com/golocker/locker/internal/redistest"
)

// bound is how long what comes soon may take on a machine with other things to do.
const bound = time.Minute

func TestMain(m *testing.M) { programtest.Main(m, main) }

// A place is where the locks of a test are.
type place struct {
	*testing.T
	url   string        // empty: files in the state directory
	dir   string        // the state directory
	bound time.Duration // what a process takes at most
}

func newPlace(t *testing.T, url string) *place { return &place{t, url, t.TempDir(), bound} }

// file returns the path of a lock's file, whose name needs no quoting.
func (p *place) file(name string) string { return filepath.Join(p.dir, "locker", name) }

// locker returns a process that is not started yet.
func (p *place) locker(args ...string) *exec.Cmd {
	cmd, environment := programtest.Command(args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LOCKER_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, environment...), "XDG_STATE_HOME="+p.dir)
	if p.url != "" {
		cmd.Env = append(cmd.Env, "LOCKER_URL="+p.url)
	}
	cmd.WaitDelay = bound
	return cmd
}

// A result is what a process has left.
type result struct {
	status         int
	stdout, stderr string
}

// run runs locker to its end.
func (p *place) run(args ...string) result {
	p.Helper()
	return p.end(p.locker(args...))
}

// end runs a process to its end.
func (p *place) end(cmd *exec.Cmd) result {
	p.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	kill := time.AfterFunc(p.bound, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		p.Fatalf("%q: %v", cmd.Args, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want checks a result: its status, and a part of what it says.
func (r result) want(t *testing.T, status int, stdout, stderr string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) {
		t.Errorf("status %d, stdout %q, stderr %q; want %d, %q and %q in them", r.status, r.stdout, r.stderr, status, stdout, stderr)
	}
}

// wantLine checks that a result is one line of an error.
func (r result) wantLine(t *testing.T, status int, stderr string) {
	t.Helper()
	r.want(t, status, "", stderr)
	if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "locker: ") {
		t.Errorf("stdout %q, stderr %q; want one line alone", r.stdout, r.stderr)
	}
}

// A process is a locker that runs.
type process struct {
	*exec.Cmd
	place  *place
	input  io.Closer
	stdout *bufio.Reader
	stderr *bufio.Reader
	kill   *time.Timer
}

// start starts locker. It is killed at the end of the test, if not before.
func (p *place) start(args ...string) *process {
	p.Helper()
	return p.launch(p.locker(args...))
}

func (p *place) launch(cmd *exec.Cmd) *process {
	p.Helper()
	c := &process{Cmd: cmd, place: p}
	input, err := cmd.StdinPipe()
	if err != nil {
		p.Fatal(err)
	}
	c.input = input
	c.stdout, c.stderr = pipe(p, &cmd.Stdout), pipe(p, &cmd.Stderr)
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	for _, end := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		_ = end.(*os.File).Close() // it has its own
	}
	c.kill = time.AfterFunc(p.bound, func() { _ = cmd.Process.Kill() })
	p.Cleanup(func() {
		c.kill.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return c
}

// pipe makes a pipe of which a process has the other end.
func pipe(p *place, w *io.Writer) *bufio.Reader {
	p.Helper()
	r, end, err := os.Pipe()
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = r.Close() })
	*w = end
	return bufio.NewReader(r)
}

// said waits for a line that has a text in it, and returns it.
func (c *process) said(from *bufio.Reader, text string) string {
	c.place.Helper()
	var all strings.Builder
	for {
		line, err := from.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			c.place.Fatalf("%q says %q, and not %q: %v", c.Args, all.String(), text, err)
		}
	}
}

// ended waits for the end of the process, and returns its status and the rest of what
// it has said.
func (c *process) ended() result {
	c.place.Helper()
	stdout, err := io.ReadAll(c.stdout)
	if err != nil {
		c.place.Fatal(err)
	}
	stderr, err := io.ReadAll(c.stderr)
	if err != nil {
		c.place.Fatal(err)
	}
	_ = c.Wait() // the status says it
	return result{c.ProcessState.ExitCode(), string(stdout), string(stderr)}
}

// holder is a command that holds a lock until its input ends.
const holder = "echo held; read line"

// idle is the end of a command that says when it is ready and then does nothing, so that
// a trap is run at once: some shells lose signals while they start a process, and so does
// the process until it is no shell any more.
const idle = `sh -c "echo ready; exec sleep 1000 >/dev/null 2>&1" & wait`

// hold starts a run that holds a lock.
func (p *place) hold(name string) *process {
	p.Helper()
	c := p.start("run", name, "--", "sh", "-c", holder)
	c.said(c.stdout, "held")
	return c
}

// release ends a run of hold.
func (c *process) release() {
	c.place.Helper()
	_ = c.input.Close()                  // if it is not closed yet
	c.ended().want(c.place.T, 1, "", "") // of read(1), at the end of its input
}

// eventually waits until something is so.
func (p *place) eventually(what string, so func() bool) {
	p.Helper()
	for began := time.Now(); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > bound {
			p.Fatalf("it takes too long until %s", what)
		}
	}
}

// backends runs a test with files, and with Redis where there is one.
func backends(t *testing.T, test func(*place)) {
	t.Run("files", func(t *testing.T) { test(newPlace(t, "")) })
	t.Run("redis", func(t *testing.T) { test(newPlace(t, onRedis(redistest.Start(t)))) })
}

// onRedis returns the URL of locks that no process loses, or fails to get, because the
// machine is so busy that heartbeats or answers are late.
func onRedis(s *redistest.Server) string {
	return "redis://" + s.Addr + "?unavailable_timeout=1m&dial_timeout=1m&read_timeout=1m"
}
