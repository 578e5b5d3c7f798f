package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A voice tells things on standard error, in their order. It does not keep the one who
// tells them, as a run has a command to look after: who reads them may be stuck, or gone.
type voice struct {
	mu    sync.Mutex
	words chan word     // guarded by mu: nil before the first
	ended chan struct{} // closed when all of them are told
	over  bool          // guarded by mu
}

// A word is something to tell, or the question whether all before it is told.
type word struct {
	text string
	told chan<- struct{}
}

const (
	backlog  = 64                     // words that wait; what comes then is lost
	lastWord = time.Second            // how long the last ones may take
	breath   = 100 * time.Millisecond // how long those before the command begins
)

func (v *voice) tell(text string) { v.add(word{text: text}) }

// add returns false if the word is lost.
func (v *voice) add(w word) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return false
	}
	if v.words == nil {
		catchBrokenPipe()
		v.words, v.ended = make(chan word, backlog), make(chan struct{})
		go v.speak()
	}
	select {
	case v.words <- w:
		return true
	default:
		return false
	}
}

func (v *voice) speak() {
	defer close(v.ended)
	for w := range v.words {
		if w.told != nil {
			close(w.told)
			continue
		}
		_, _ = io.WriteString(os.Stderr, w.text) // nobody else could be told
	}
}

// finish returns when all is told that came before, or nobody listens.
func (v *voice) finish() {
	told := make(chan struct{})
	if !v.add(word{told: told}) {
		return
	}
	select {
	case <-told:
	case <-time.After(breath):
	}
}

// end returns when all is told, or nobody listens.
func (v *voice) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over = true; v.words == nil {
		return
	}
	close(v.words)
	select {
	case <-v.ended:
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
