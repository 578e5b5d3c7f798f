package conn

import (
	"slices"
	"strings"
	"testing"

	"github.com/golocker/locker/redislock/internal/resp"
)

// To leave the channels of a lock in a Cluster is one command. What the server says of
// channels that it drops, as their slot moves, looks like a confirmation, and is none.
func TestLeavingInACluster(t *testing.T) {
	t.Parallel()
	const (
		mark = ">3\r\n$12\r\nsunsubscribe\r\n$5\r\n{n}:l\r\n:2\r\n"
		lock = ">3\r\n$12\r\nsunsubscribe\r\n$3\r\n{n}\r\n:1\r\n"
		hold = ">3\r\n$12\r\nsunsubscribe\r\n$5\r\n{n}:h\r\n:0\r\n"
	)
	for _, tt := range []struct {
		name    string
		answer  string
		dropped []string
		refused bool // the session is on the channels
	}{
		{"confirmed", mark + lock + hold, nil, false},
		{"the slot has moved meanwhile", lock + hold + "-MOVED 3432 127.0.0.1:2\r\n", []string{"{n}", "{n}:h"}, false},
		{"the slot is on its way", "-ASK 3432 127.0.0.1:2\r\n", nil, true},
		{"at a replica", "-MOVED 3432 127.0.0.1:2\r\n", nil, true},
		{"the Cluster is down", "-CLUSTERDOWN The cluster is down\r\n", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var dropped []string
			s := newServerWith(t, func(c *Config) {
				c.Sharded, c.Mark = true, ":l"
				c.Gone = func(channel string) { dropped = append(dropped, channel) }
			})
			confirmed, left, answered := make(chan error, 1), make(chan error, 1), make(chan string, 1)
			s.Send(s.Subscribe(func(_ resp.Value, err error) { confirmed <- err }, "{n}", "{n}:h"))
			s.next(t)
			s.answer(t, strings.NewReplacer("sunsubscribe", "ssubscribe", "$12", "$10").Replace(lock+hold))
			if err := await(t, "the confirmation", confirmed); err != nil {
				t.Fatal(err)
			}
			s.Send(s.Unsubscribe(func(_ resp.Value, err error) { left <- err }, "{n}", "{n}:h"),
				Command{Words: []string{"PING"}, Done: func(v resp.Value, _ error) { answered <- v.Text }})
			if words := s.next(t); !slices.Equal(words, []string{"SUNSUBSCRIBE", "{n}:l", "{n}", "{n}:h"}) {
				t.Errorf("%q", words)
			}
			s.answer(t, tt.answer+"+PONG\r\n")
			if err := await(t, "the answer", left); (err != nil) != tt.refused {
				t.Errorf("left: %v", err)
			}
			if text := await(t, "the next answer", answered); text != "PONG" {
				t.Errorf("the answer to the next command: %q", text)
			}
			if !slices.Equal(dropped, tt.dropped) {
				t.Errorf("dropped: %q, want %q", dropped, tt.dropped)
			}
		})
	}
}
