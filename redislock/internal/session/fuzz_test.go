package session

import (
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// Whatever is published on the channels of a lock, answers go to channels of that
// lock alone, and never to the lock's own.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		"", "null", "[]", "42", "wake", "wait", "near", "next", "won 7 1 0", "won ", "\x00",
		`{"response_channel": "n-0.5"}`, `{"response_channel": "n-1e-05", "message": "ping"}`,
		`{"response_channel": "n:h:` + strings.Repeat("0", 32) + `"}`, `{"response_channel": "other"}`,
		`{"holder_id": "` + strings.Repeat("a", 32) + `", "mode": "exclusive", "protocol": 1, "elected": true}`,
		`{"mode": "pending"}`, "1732385415.25", strings.Repeat("[", 1000),
	} {
		f.Add(text, true, false)
		f.Add(text, false, true)
	}
	f.Fuzz(func(t *testing.T, text string, holds, onHold bool) {
		env := &server.Env{}
		s := &session{
			id: strings.Repeat("b", 32), env: env, server: &server.Server{Env: env},
			requests: make(chan []server.Request, 1), members: make(map[string]*member),
		}
		m := newMember(s, "n", "n")
		m.attempt = &locker.Attempt{Name: "n", CheckInterval: time.Hour}
		s.members["n"] = m
		m.claim, m.phase = &claim{member: m, holder: answerer{came: make(chan struct{})}}, claiming
		if holds {
			m.claim, m.hold, m.phase = nil, &hold{member: m}, held
		}
		channel := "n"
		if onHold {
			channel = m.holdChannel
		}
		s.message(channel, &resp.Value{Kind: '$', Text: text})
		select {
		case r := <-s.requests:
			channel := r[0].Words[1]
			if !strings.HasPrefix(channel, "n-") && !strings.HasPrefix(channel, "n:h:") && !strings.HasPrefix(channel, "n:w:") {
				t.Errorf("answered on %q", channel)
			}
			if len(channel) < len("n-0.5") || onHold {
				t.Errorf("answered on %q", channel)
			}
		default:
		}
	})
}
