package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A voice tells things on standard error, in their order. It never keeps the one who
// tells them, as a run has a command to look after: who reads them may be stuck, or gone.
type voice struct {
	mu    sync.Mutex
	texts chan string   // guarded by mu: nil before the first
	told  chan struct{} // closed when all of them are told
	ended bool          // guarded by mu
}

const (
	backlog  = 64          // texts that wait; what comes then is lost
	lastWord = time.Second // how long the last ones may take
)

func (v *voice) tell(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return
	}
	if v.texts == nil {
		catchBrokenPipe()
		v.texts, v.told = make(chan string, backlog), make(chan struct{})
		go v.speak()
	}
	select {
	case v.texts <- text:
	default:
	}
}

func (v *voice) speak() {
	defer close(v.told)
	for text := range v.texts {
		_, _ = io.WriteString(os.Stderr, text) // nobody else could be told
	}
}

// end returns when all is told, or nobody listens.
func (v *voice) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended = true; v.texts == nil {
		return
	}
	close(v.texts)
	select {
	case <-v.told:
	case <-time.After(lastWord):
	}
}

// say tells something on standard error, in one line, also with --quiet.
func (p *program) say(format string, args ...any) {
	p.voice.tell("locker: " + oneLine(fmt.Sprintf(format, args...)) + "\n")
}

// oneLine returns a text without line breaks and what else a terminal obeys, and
// without the prefixes of this library's errors.
func oneLine(text string) string {
	for _, prefix := range []string{"lockurl: ", "locker: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
}
