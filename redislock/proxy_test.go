package redislock_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// A proxy that passes on single commands refuses to subscribe, or hangs up. The error says
// that it may be the reason.
func TestProxy(t *testing.T) {
	t.Parallel()
	unknown := func(command string) string { return "-ERR unknown command '" + command + "'\r\n" }
	for _, tt := range []struct {
		name   string
		answer func(command string) string // "": hang up
	}{
		{"it knows no connection's state", func(command string) string {
			if command == "info" {
				return "$0\r\n\r\n"
			}
			return unknown(command)
		}},
		{"unsupported", func(command string) string { return "-ERR unsupported command '" + command + "'\r\n" }},
		{"hangs up at the first command", func(string) string { return "" }},
		{"hangs up at SUBSCRIBE", func(command string) string {
			if command == "subscribe" {
				return ""
			}
			return unknown(command)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := fakeServer(t, tt.answer)
			protocols(t, func(t *testing.T, protocol int) {
				l := openWith(t, redistest.Client(t, addr, func(o *redis.Options) { o.Protocol = protocol }), nil)
				_, err := l.Acquire(t.Context(), "n", noWait)
				if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "a proxy") || !strings.Contains(err.Error(), "subscriptions") {
					t.Errorf("Acquire: %v, want ErrUnavailable that speaks of a proxy", err)
				}
			})
		})
	}
}

// fakeServer answers each command, by its name in lower case, until answer returns "".
func fakeServer(t *testing.T, answer func(command string) string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	serve := func(conn net.Conn) {
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			command, err := readCommand(r)
			if err != nil {
				return
			}
			text := answer(strings.ToLower(command))
			if _, err := io.WriteString(conn, text); err != nil || text == "" {
				return
			}
		}
	}
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(conn) })
		}
	})
	return l.Addr().String()
}

// readCommand reads a command, and returns its first word.
func readCommand(r *bufio.Reader) (word string, err error) {
	line := func() (text string) {
		if err == nil {
			text, err = r.ReadString('\n')
		}
		return strings.TrimSpace(text)
	}
	words, _ := strconv.Atoi(strings.TrimPrefix(line(), "*"))
	for i := range words {
		line() // its length
		if text := line(); i == 0 {
			word = text
		}
	}
	return word, err
}

// A server that has as many clients as it may says so, and closes the connection.
func TestTooManyClients(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Raw().Do("CONFIG", "SET", "maxclients", "1") // which this one is
	protocols(t, func(t *testing.T, protocol int) {
		l := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Password = protocol, "s3cr3t" }), nil)
		for range 50 {
			_, err := l.Acquire(t.Context(), "n", noWait)
			if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "max number of clients reached") {
				t.Fatalf("Acquire: %v, want ErrUnavailable that says what the server has said", err)
			}
		}
	})
}
