//go:build linux

package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// now is the time on the clock that all processes of the machine share, and that
// nobody sets.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it has one
	return t.Nano()
}

// An event is what a process tells of its load, or the test of a fault: a line of
// JSON where it comes from a child.
type event struct {
	Kind    kind
	Process int
	Hold    int    `json:",omitempty"` // which of the process
	Name    string `json:",omitempty"` // the lock
	Token   uint64 `json:",omitempty"`
	From    int64  // it happened between From
	Until   int64  // and Until
	Text    string `json:",omitempty"`
}

type kind string

const (
	// An Acquire was called at From, and returned a lock at Until.
	acquired kind = "acquired"
	// The lock was held at From, and no more at Until. From is when Release was
	// called, if that succeeded, else when Err was last seen to be nil.
	ended kind = "ended"
	// An Acquire was called at From and returned an error at Until.
	refused kind = "refused"
	// The process did nothing from From until Until.
	stopped kind = "stopped"
	// A call took longer than it may.
	late kind = "late"
	// The process ended, and its locks with it.
	crashed kind = "crashed"

	quiet  kind = "quiet"  // the load has ended
	closed kind = "closed" // and so have its Lockers
	said   kind = "said"   // in the log of a Locker
	struck kind = "fault"
	wrong  kind = "wrong" // something that must not be, whatever the others saw
)

// A history is what happened in a trial.
type history struct {
	began int64

	mu     sync.Mutex
	events []event // guarded by mu
}

func newHistory() *history { return &history{began: now()} }

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *history) all() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// A held is one hold of a lock, as the history tells it.
type held struct {
	event       // acquired
	end   event // ended, or what else ended it
}

// holds returns the holds, and what is wrong with their records.
func (h *history) holds() (holds []held, problems []problem) {
	type key struct{ process, hold int }
	index := make(map[key]int)
	died := make(map[int]event)
	for _, e := range h.all() {
		k := key{e.Process, e.Hold}
		switch e.Kind {
		case acquired:
			index[k] = len(holds)
			holds = append(holds, held{event: e})
		case ended:
			holds[index[k]].end = e // a process tells things in their order
		case crashed:
			died[e.Process] = e
		}
	}
	for i := range holds {
		if hd := &holds[i]; hd.end.Kind == "" {
			e, ok := died[hd.Process]
			if !ok {
				problems = append(problems, problem{unfinished, fmt.Sprintf("nobody told of the end of %v", h.describe(hd.event))})
			}
			e.From, e.Until = hd.From, max(e.Until, hd.Until) // at any time
			hd.end = e
		}
	}
	return holds, problems
}

// clock returns a time as it is printed.
func (h *history) clock(t int64) string {
	return fmt.Sprintf("%.6fs", time.Duration(t-h.began).Seconds())
}

func (h *history) describe(e event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %s  process %d  %s", h.clock(e.From), h.clock(e.Until), e.Process, e.Kind)
	if e.Name != "" {
		fmt.Fprintf(&b, "  %q", e.Name)
	}
	if e.Hold != 0 {
		fmt.Fprintf(&b, "  hold %d  token %d", e.Hold, e.Token)
	}
	if e.Text != "" {
		fmt.Fprintf(&b, "  %s", e.Text)
	}
	return b.String()
}

// around returns what happened to a lock, and to all, between two times.
func (h *history) around(name string, from, until int64) string {
	const before, after = int64(1500 * time.Millisecond), int64(100 * time.Millisecond)
	var lines []event
	for _, e := range h.all() {
		if (e.Name == name || e.Name == "") && e.Until >= from-before && e.From <= until+after {
			lines = append(lines, e)
		}
	}
	slices.SortStableFunc(lines, func(a, b event) int { return int(a.Until - b.Until) })
	const most = 120
	lines = lines[max(0, len(lines)-most):]
	var b strings.Builder
	for _, e := range lines {
		fmt.Fprintf(&b, "\n\t%s", h.describe(e))
	}
	return b.String()
}
