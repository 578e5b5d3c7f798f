package redislock

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
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
	f.Fuzz(func(t *testing.T, text string, held, onHold bool) {
		s := &session{id: strings.Repeat("b", 32), requests: make(chan []request, 1), wire: &wire{}, members: make(map[string]*member)}
		m := &member{session: s, name: "n", holdChannel: "n:h:" + s.id, claiming: !held, answered: make(chan struct{})}
		if held {
			m.hold = &hold{member: m}
		}
		s.members["n"] = m
		channel := "n"
		if onHold {
			channel = m.holdChannel
		}
		s.message(channel, &reply{kind: '$', text: text})
		select {
		case r := <-s.requests:
			channel := r[0].words[1]
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

// Whatever a server sends is read, or an error.
func FuzzReadReply(f *testing.F) {
	for _, text := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "*-1\r\n", "_\r\n",
		">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$0\r\n\r\n", "%1\r\n+a\r\n+b\r\n", "$70000\r\n", "*99999999999\r\n", "*1\r\n*1\r\n*1\r\n", "\r\n", "$x\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReaderSize(strings.NewReader(text), 64)
		for {
			v, err := readReply(r, 0)
			if err != nil {
				return
			}
			if len(v.text) > maxBulk || len(v.list) > maxArray*2 {
				t.Errorf("read %d bytes, %d elements", len(v.text), len(v.list))
			}
			v.isPush(true)
			v.isPush(false)
			pushKind(&v)
		}
	})
}

// What is said to be a whole value is read without more data, as much of it.
func FuzzCutValue(f *testing.F) {
	for _, text := range []string{
		"", "+OK\r\n", "$2\r\nab\r\n+", "$-1\r\n", "*-1\r\n", "*2\r\n$1\r\na\r\n", ">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$4\r\nwake\r\n>",
		"%1\r\n+a\r\n:1\r\n", strings.Repeat("*1\r\n", 20), "$99999999999999999999\r\n", "\n", "+\n", "$3\r\nab\r\n", "~1\r\n_\r\n", "$70000\r\nxx",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest, whole := cutValue([]byte(text), 0)
		if !whole {
			return
		}
		from := strings.NewReader(text)
		r := bufio.NewReader(from)
		_, err := readReply(r, 0)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q is not whole: %v", text, err)
		}
		if left := r.Buffered() + from.Len(); err == nil && left != len(rest) {
			t.Errorf("%q: %d bytes are left, not %d", text, left, len(rest))
		}
	})
}
