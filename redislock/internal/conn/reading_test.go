package conn

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/redislock/internal/resp"
)

// A server answers each line that a Conn sends as the test says.
type server struct {
	*Conn
	conn net.Conn // the server's end
	from *bufio.Reader
}

func newServer(t *testing.T) *server {
	t.Helper()
	return newServerWith(t, func(*Config) {})
}

func newServerWith(t *testing.T, change func(*Config)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var w *Conn
	c := Config{
		Net: client, WriteTimeout: time.Second, Running: &sync.WaitGroup{},
		Message: func(string, *resp.Value) {}, Fail: func(err error) { w.End(err) },
	}
	change(&c)
	w = New(c)
	w.resp3 = true
	var reads sync.WaitGroup
	reads.Go(func() { w.End(w.Read()) })
	t.Cleanup(func() {
		_ = other.Close()
		reads.Wait()
		w.config.Running.Wait()
	})
	return &server{w, other, bufio.NewReader(other)}
}

// next returns the next command that comes in.
func (s *server) next(t *testing.T) []string {
	t.Helper()
	v, err := resp.Read(s.from)
	if err != nil {
		t.Error(err)
		return nil
	}
	var words []string
	for _, e := range v.List {
		words = append(words, e.Text)
	}
	return words
}

func (s *server) answer(t *testing.T, text string) {
	t.Helper()
	if _, err := s.conn.Write([]byte(text)); err != nil {
		t.Error(err)
	}
}

// ask sends a command, and helps to read the answer.
func (s *server) ask(word string) chan string {
	answer := make(chan string, 1)
	s.Write(Command{Words: []string{word}, Done: func(v resp.Value, err error) {
		if err != nil {
			v.Text = err.Error()
		}
		answer <- v.Text
	}})
	s.Help(func() bool { return len(answer) > 0 })
	return answer
}

// await waits for something that must come.
func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not come:", what)
	}
	return v
}

// Callers that read the answers themselves get each its own, and read goes on where
// they stop, whoever of them comes when.
func TestCallersRead(t *testing.T) {
	s := newServer(t)
	go func() {
		for {
			v, err := resp.Read(s.from)
			if err != nil {
				return
			}
			_, _ = s.conn.Write([]byte("+" + v.List[0].Text + "\r\n"))
		}
	}()
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 3000 {
				want := strings.Repeat("x", 1+(i+j)%7)
				var answer chan string
				if (i+j)%5 == 0 { // one who leaves the reading to others
					answer = make(chan string, 1)
					s.Send(Command{Words: []string{want}, Done: func(v resp.Value, _ error) { answer <- v.Text }})
				} else {
					answer = s.ask(want)
				}
				select {
				case got := <-answer:
					if got != want {
						t.Errorf("%q for %q", got, want)
						return
					}
				case <-time.After(30 * time.Second):
					t.Error("no answer")
					return
				}
				if i == 0 && j%50 == 0 {
					time.Sleep(time.Duration(j) * time.Microsecond) // read begins to rest, and to read
				}
			}
		})
	}
	callers.Wait()
	if s.reading.latest.Load() == 0 {
		t.Error("no caller has read")
	}
}

// Callers read one after another, once read has rested.
func TestReadRests(t *testing.T) {
	s := newServer(t)
	go func() {
		for {
			v, err := resp.Read(s.from)
			if err != nil {
				return
			}
			_, _ = s.conn.Write([]byte("+" + v.List[0].Text + "\r\n"))
		}
	}()
	// On a busy machine an answer may take long, and read go on in between.
	helped := 0
	for range 10000 {
		s.reading.far.Store(0)
		before := s.reading.latest.Load()
		if got := await(t, "the answer", s.ask("a")); got != "a" {
			t.Fatal(got)
		}
		if s.reading.latest.Load() > before {
			helped++
		}
		if helped >= 50 {
			return
		}
	}
	t.Errorf("%d of 10,000 answers were read by their callers", helped)
}

// A caller does not wait for an answer that takes long, or comes in parts: it is as
// free to go as ever, and the answer comes all the same.
func TestCallerIsNotKept(t *testing.T) {
	s := newServer(t)
	warm := func() { // has read rest
		for !s.reading.rests.Load() {
			answer := make(chan chan string, 1)
			go func() { answer <- s.ask("a") }()
			s.answer(t, "+"+s.next(t)[0]+"\r\n")
			await(t, "the answer", await(t, "the end of help", answer))
		}
	}
	for what, parts := range map[string][2]string{"late": {"", "+late\r\n"}, "in parts": {"$4\r\nla", "te\r\n"}} {
		s.reading.far.Store(0)
		warm()
		helped := make(chan chan string, 1)
		go func() { helped <- s.ask("b") }()
		s.next(t)
		s.answer(t, parts[0])
		answer := await(t, "the end of help", helped)
		if len(answer) > 0 {
			t.Fatal(what, "the answer is there already")
		}
		s.answer(t, parts[1])
		if got := await(t, "the answer", answer); got != "late" {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// A message is read though no answer is due and nobody asks, and so is the end.
func TestRestEnds(t *testing.T) {
	messages := make(chan string, 1)
	s := newServerWith(t, func(c *Config) {
		c.Message = func(channel string, payload *resp.Value) { messages <- channel + " " + payload.Text }
	})
	for i := range 3 {
		answer := make(chan chan string, 1)
		go func() { answer <- s.ask("a") }()
		s.next(t)
		text := "+a\r\n"
		if i == 1 { // right behind the answer
			text += ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
		}
		s.answer(t, text)
		await(t, "the answer", await(t, "the end of help", answer))
		if i == 0 {
			s.answer(t, ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n")
		}
		if i < 2 {
			if got := await(t, "the message", messages); got != "c m" {
				t.Error(got)
			}
			continue
		}
		end := make(chan struct{})
		_ = s.conn.Close()
		go func() {
			for {
				if s.mu.Lock(); s.err != nil {
					s.mu.Unlock()
					close(end)
					return
				}
				s.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		}()
		await(t, "the end", end)
	}
}

// Nor is a caller kept when read is told to go on while the server is silent.
func TestCallerIsNotKeptByOthers(t *testing.T) {
	for range 20 {
		s := newServer(t)
		for !s.reading.rests.Load() {
			answer := make(chan chan string, 1)
			go func() { answer <- s.ask("a") }()
			s.answer(t, "+"+s.next(t)[0]+"\r\n")
			await(t, "the answer", await(t, "the end of help", answer))
		}
		helped := make(chan chan string, 1)
		go func() { helped <- s.ask("b") }()
		s.next(t)
		s.Send(Command{Words: []string{"c"}, Done: func(resp.Value, error) {}})
		answer := await(t, "the end of help", helped)
		s.answer(t, "+late\r\n+c\r\n")
		if got := await(t, "the answer", answer); got != "late" {
			t.Fatal(got)
		}
	}
}

// What is sent in and after a burst, whose buffers are not kept, comes as it was sent.
func TestBurst(t *testing.T) {
	s := newServer(t)
	received := make(chan string, 100)
	go func() {
		defer close(received)
		for {
			v, err := resp.Read(s.from)
			if err != nil {
				return
			}
			_, _ = s.conn.Write([]byte("+OK\r\n"))
			received <- v.List[0].Text
		}
	}()
	var senders sync.WaitGroup
	for i := range 8 {
		senders.Go(func() {
			for j := range 200 {
				word := strings.Repeat(string(rune('a'+i)), 1+(i*7919+j*104729)%50_000)
				s.Send(Command{Words: []string{word}, Done: func(resp.Value, error) {}})
			}
		})
	}
	next := [8]int{}
	for range 8 * 200 {
		word := await(t, "a command", received)
		i := int(word[0] - 'a')
		if want := 1 + (i*7919+next[i]*104729)%50_000; len(word) != want || strings.Trim(word, word[:1]) != "" {
			t.Fatalf("%d bytes, want %d of %q alone", len(word), want, word[:1])
		}
		next[i]++
	}
	senders.Wait()
}
