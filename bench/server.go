package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"time"
)

// A server is a server of the run, on a free port of the loopback interface.
type server struct {
	addr   string
	stop   io.Closer // ends the server when it is closed, also by the end of this process
	output *bytes.Buffer
	exited chan struct{} // closed when it has ended
}

// supervise runs a program until its standard input ends, which it does with the
// process that holds the other end, however that ends.
const supervise = `exec 3<&0
"$@" </dev/null 3<&- &
pid=$!
(cat <&3; kill -9 $pid) >/dev/null 2>&1 &
exec 3<&-
wait $pid`

// errMissing says that a server is not installed.
var errMissing = errors.New("is not installed")

func startRedis(dir string) (*server, error) {
	return startServer("redis-server", func(port func() (string, error)) ([]string, string, error) {
		p, err := port()
		return []string{"--bind", "127.0.0.1", "--port", p, "--save", "", "--appendonly", "no", "--dir", dir}, p, err
	})
}

func startEtcd(dir string) (*server, error) {
	return startServer("etcd", func(port func() (string, error)) ([]string, string, error) {
		client, err := port()
		peer, err2 := port()
		clientURL, peerURL := "http://127.0.0.1:"+client, "http://127.0.0.1:"+peer
		return []string{
			"--data-dir", dir, "--log-level", "error",
			"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
			"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default=" + peerURL,
		}, client, errors.Join(err, err2)
	})
}

// startServer starts a program. arguments returns its command line, and the port that
// it will answer at. Another process can take the port before the server does: then it
// tries another.
func startServer(program string, arguments func(port func() (string, error)) ([]string, string, error)) (*server, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%s %w", program, errMissing)
	}
	var s *server
	for range 10 {
		args, port, err := arguments(freePort)
		if err != nil {
			return nil, err
		}
		s = &server{addr: net.JoinHostPort("127.0.0.1", port), output: &bytes.Buffer{}, exited: make(chan struct{})}
		if up, err := s.launch(path, args); up || err != nil {
			return s, err
		}
	}
	return nil, fmt.Errorf("%s does not start:\n%s", program, s.output)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// launch starts the server and reports whether it answers.
func (s *server) launch(path string, args []string) (up bool, err error) {
	cmd := exec.Command("sh", append([]string{"-c", supervise, "sh", path}, args...)...)
	setProcessGroup(cmd)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	if s.stop, err = cmd.StdinPipe(); err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	go func() {
		_ = cmd.Wait()
		close(s.exited)
	}()
	deadline := time.After(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = conn.Close()
			select {
			case <-s.exited: // somebody else answers
				return false, nil
			default:
				return true, nil
			}
		}
		select {
		case <-s.exited:
			return false, nil
		case <-deadline:
			s.kill()
			return false, fmt.Errorf("%s does not answer:\n%s", path, s.output)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the server, and returns when it has ended.
func (s *server) kill() {
	_ = s.stop.Close()
	<-s.exited
}

// version returns the first line that a program says about its version.
func version(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return program
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}
