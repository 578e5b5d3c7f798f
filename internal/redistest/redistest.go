// Package redistest starts Redis servers for tests, on free ports of the
// loopback interface, and ends them with the test.
package redistest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience bounds the waits for events that come soon on any machine.
const patience = 30 * time.Second

// program returns the server that the tests start: a redis-server, unless
// LOCKER_TEST_REDIS_SERVER names another, for instance a valkey-server.
func program() string { return cmp.Or(os.Getenv("LOCKER_TEST_REDIS_SERVER"), "redis-server") }

// Require skips the test if a program that it needs is not installed. With
// LOCKER_TEST_REQUIRE=all in the environment, the test fails instead. "redis-server"
// stands for the server that the tests start.
func Require(t testing.TB, name string) {
	t.Helper()
	if name == "redis-server" {
		name = program()
	}
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("LOCKER_TEST_REQUIRE") == "all" {
			t.Fatalf("%s is not installed, and LOCKER_TEST_REQUIRE=all", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// RequireVersion skips the test if the server that the tests start is older, as why says
// what it lacks.
func RequireVersion(t testing.TB, major, minor int, why string) {
	t.Helper()
	Require(t, "redis-server")
	text, err := exec.Command(program(), "--version").Output() //nolint:gosec // the tester's choice
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(text), " v=")
	var has [2]int
	if _, err := fmt.Sscanf(version, "%d.%d", &has[0], &has[1]); err != nil {
		t.Fatalf("%q tells no version: %v", text, err)
	}
	if has[0] < major || has[0] == major && has[1] < minor {
		t.Skipf("this server is a %d.%d: %s", has[0], has[1], why)
	}
}

// A Server is a redis-server of the test.
type Server struct {
	Addr string

	t      testing.TB
	args   []string
	tls    *tls.Config // how its clients connect; nil: without TLS
	home   string
	stop   io.Closer // ends the server when it is closed, also by the end of the test's process
	output *serverLog
	exited chan struct{} // closed when cmd has ended
}

// supervise runs a server until its standard input ends, which it does with the
// test's process, however that ends.
const supervise = `exec 3<&0
"$server" "$@" </dev/null 3<&- &
pid=$!
(cat <&3; kill -9 $pid) >/dev/null 2>&1 &
exec 3<&-
wait $pid`

// Start starts a redis-server that keeps nothing on disk, with args added to its
// command line. The test is skipped if there is none.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartTLS(t, nil, args...)
}

// StartTLS is Start for a server that speaks nothing but TLS. Its certificates are
// in args; config is that of Client and Do.
func StartTLS(t testing.TB, config *tls.Config, args ...string) *Server {
	t.Helper()
	Require(t, "redis-server")
	s := &Server{t: t, args: args, tls: config}
	// Another process can take the port before the server does: then try another.
	for range 10 {
		s.Addr = freeAddr(t)
		if s.launch() {
			t.Cleanup(s.Kill)
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", s.output)
	return nil
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// launch starts the server and reports whether it answers.
func (s *Server) launch() bool {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	listen := []string{"--bind", host, "--port", port}
	if s.tls != nil {
		listen = []string{"--bind", host, "--port", "0", "--tls-port", port}
	}
	return s.run(append(append(listen, "--save", "", "--appendonly", "no", "--dir", s.dir()), s.args...)...)
}

// dir returns the directory of the server, which it keeps over restarts.
func (s *Server) dir() string {
	if s.home == "" {
		s.home = s.t.TempDir()
	}
	return s.home
}

// run runs redis-server with args, and reports whether it answers.
func (s *Server) run(args ...string) bool {
	s.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", supervise, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "server="+program())
	s.output = &serverLog{}
	cmd.Stdout, cmd.Stderr = s.output, s.output
	stop, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.stop = stop
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	deadline := time.After(patience)
	for {
		// Somebody else may answer at the address, if the server comes too late for it:
		// it says itself when it is ready.
		if s.output.saysReady() {
			if conn, err := net.Dial("tcp", s.Addr); err == nil {
				conn.Close()
				return true
			}
		}
		select {
		case <-exited:
			return false
		case <-deadline:
			s.t.Fatalf("redis-server does not answer:\n%s", s.output)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A serverLog is what a server has said.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// saysReady reports whether a server, or a Sentinel, listens. It may have to load yet
// what it had saved.
func (l *serverLog) saysReady() bool {
	text := l.String()
	return strings.Contains(text, "Server initialized") || strings.Contains(text, "Sentinel ID is")
}

// Kill kills the server, as a crash would, and returns when it has ended.
func (s *Server) Kill() {
	s.stop.Close()
	<-s.exited
}

// alive reports whether the server runs.
func (s *Server) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Restart starts the server again, after Kill, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.launch() {
		s.t.Fatalf("redis-server does not start again:\n%s", s.output)
	}
}

// Client returns a client of the server, which the test closes. change, if not
// nil, changes its options.
func (s *Server) Client(change func(*redis.Options)) *redis.Client {
	return Client(s.t, s.Addr, func(o *redis.Options) {
		o.TLSConfig = s.tls
		if change != nil {
			change(o)
		}
	})
}

// Client returns a client of a server, which the test closes.
func Client(t testing.TB, addr string, change func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: addr}
	if change != nil {
		change(o)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func (s *Server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, TLSConfig: s.tls})
}

// Do runs a command on the server and returns what it says.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := s.client()
	defer c.Close()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil && !strings.Contains(err.Error(), "nil") {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// A Raw is a connection that does only what a test says.
type Raw struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// Raw opens a connection to the server, which the test closes. It is one without TLS.
func (s *Server) Raw() *Raw {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &Raw{t: s.t, conn: conn, r: bufio.NewReader(conn)}
}

// Do sends a command, and waits for the first line of its answer, which is no error.
func (c *Raw) Do(words ...string) {
	c.t.Helper()
	if line := c.Ask(words...); strings.HasPrefix(line, "-") {
		c.t.Fatalf("%v: %q", words, line)
	}
}

// Ask sends a command and returns the first line of its answer.
func (c *Raw) Ask(words ...string) string {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	_, err := io.WriteString(c.conn, b.String())
	var line string
	if err == nil {
		line, err = c.Read()
	}
	if err != nil {
		c.t.Fatalf("%v: %v", words, err)
	}
	return line
}

// Read returns the next line that the server sends.
func (c *Raw) Read() (string, error) { return c.r.ReadString('\n') }

// Parallel has n tests of a package run beside each other, unless go test is told how many:
// each has a server of its own, and waits for most of its time. It is for TestMain.
func Parallel(n int) {
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		_ = flag.Set("test.parallel", strconv.Itoa(n)) // which is a number
	}
}
