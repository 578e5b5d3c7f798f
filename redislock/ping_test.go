package redislock_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/internal/redistest"
)

func fields(s string) []string { return strings.Fields(s) }

// listen subscribes to channels.
func listen(t *testing.T, s *redistest.Server, channels ...string) <-chan *redis.Message {
	t.Helper()
	sub := s.Client(nil).Subscribe(t.Context(), channels...)
	t.Cleanup(func() { sub.Close() })
	for range channels {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return sub.Channel()
}

func receive(t *testing.T, messages <-chan *redis.Message) *redis.Message {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(bound):
		t.Fatalf("no message within %v", bound)
		return nil
	}
}

// A holder answers a ping in the form of portalocker, once.
func TestPingIsAnswered(t *testing.T) {
	t.Parallel()
	const random = "n-0.8444218515250481"
	uuid := "n-" + strings.Repeat("0f", 16)
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		lock := acquire(t, open(t, s.Addr, protocol), "n")
		for _, channel := range []string{random, uuid, "n-1.5e-05"} {
			answers := listen(t, s, channel)
			s.Do("PUBLISH", "n", fmt.Sprintf(`{"response_channel": %q, "message": "ping"}`, channel))
			var got struct {
				HolderID string `json:"holder_id"`
				Mode     string
				Protocol int
				Elected  bool
			}
			m := receive(t, answers)
			if err := json.Unmarshal([]byte(m.Payload), &got); err != nil {
				t.Fatalf("answer %q: %v", m.Payload, err)
			}
			if len(got.HolderID) != 32 || got.Mode != "exclusive" || got.Protocol != 1 || !got.Elected {
				t.Errorf("answer %q", m.Payload)
			}
		}
		release(t, lock)
	})
}

// Whatever else arrives on the lock's channel is ignored: the lock is kept, and
// nothing is published where the sender wants it.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	victims := []string{"other", "nn", "n", "n-", "n-other", "n:other", "other-0.5", "n-0.5x", "n-" + strings.Repeat("g", 32), "n-weekly-report", "n:w:victim"}
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		l := open(t, s.Addr, protocol)
		lock := acquire(t, l, "n")
		heard := listen(t, s, append([]string{"n-0.25"}, victims[:2]...)...)
		more := listen(t, s, victims[3:]...)
		for _, message := range []string{
			"", "ping", "[]", "{}", "null", "42", `"n-0.5"`, `{"response_channel": 7}`, `{"response_channel": ""}`,
			`{"response_channel": null}`, `{"response_channel": ["n-0.5"]}`, "\x00\xff", strings.Repeat("[", 100_000),
			`{"response_channel":"n-0.5", "x": "` + strings.Repeat("a", 1<<20) + `"}`,
		} {
			s.Do("PUBLISH", "n", message)
		}
		for _, v := range victims {
			text, _ := json.Marshal(map[string]string{"response_channel": v})
			s.Do("PUBLISH", "n", text)
		}
		// The answer to a good ping comes after all answers to those before it.
		s.Do("PUBLISH", "n", `{"response_channel": "n-0.25"}`)
		if m := receive(t, heard); m.Channel != "n-0.25" {
			t.Errorf("published on %q: %q", m.Channel, m.Payload)
		}
		select {
		case m := <-more:
			t.Errorf("published on %q: %q", m.Channel, m.Payload)
		default:
		}
		if err := lock.Err(); err != nil {
			t.Errorf("the lock is lost: %v", err)
		}
		release(t, lock)
	})
}

// A subscriber that is not of this library keeps the lock from us, whether it
// answers or not, and as soon as it leaves, those who wait get it.
func TestForeignHolder(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		for _, answering := range []bool{true, false} {
			s := redistest.Start(t)
			l := open(t, s.Addr, protocol)
			c := s.Client(nil)
			sub := c.Subscribe(t.Context(), "n")
			if _, err := sub.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			go func() {
				for m := range sub.Channel() {
					var ping struct {
						ResponseChannel string `json:"response_channel"`
					}
					if json.Unmarshal([]byte(m.Payload), &ping) != nil || ping.ResponseChannel == "" {
						t.Errorf("published on the lock's channel: %q", m.Payload)
					}
					if answering {
						c.Publish(t.Context(), ping.ResponseChannel, "1732385415.123")
					}
				}
			}()
			if _, err := l.Acquire(t.Context(), "n", noWait); err == nil {
				t.Error("acquired a lock that a foreign subscriber holds")
			}
			acquired := make(chan struct{})
			go func() {
				defer close(acquired)
				release(t, acquire(t, l, "n"))
			}()
			queued(t, s, "n", 1)
			poll(t, "the claim to leave the channel", func() bool { return s.Do("PUBSUB", "NUMSUB", "n").([]any)[1] == int64(1) })
			sub.Close()
			await(t, "the lock after the foreign holder", acquired)
		}
	})
}
