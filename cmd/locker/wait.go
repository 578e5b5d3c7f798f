package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// How often somebody who waits is told of it.
const (
	waitDelay  = 100 * time.Millisecond // a wait that is shorter is not worth a line
	waitRedraw = time.Second            // on a terminal
	waitLook   = 5 * time.Second        // at who holds the lock
)

// A waiting tells whom a run waits for, on standard error.
type waiting struct {
	program *program
	name    string
	locks   locker.Locker

	cancel  context.CancelFunc // nil: nothing is told
	telling sync.WaitGroup
}

// begin is for the Trace of an Acquire that begins to wait.
func (w *waiting) begin(context.Context, locker.Event) {
	if w.program.quiet {
		return
	}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.telling.Go(func() { w.tell(ctx) })
}

// end returns when nothing is told any more. The Acquire has returned.
func (w *waiting) end() {
	if w.cancel != nil {
		w.cancel()
		w.telling.Wait()
		w.program.voice.finish() // the command may have something to tell, too
	}
}

// tell tells who holds the lock until ctx ends: on a terminal in a line that it keeps
// up to date, else in one for each holder that it sees.
func (w *waiting) tell(ctx context.Context) {
	if !sleep(ctx, waitDelay) {
		return
	}
	width, live := terminal(os.Stderr)
	every := waitLook
	if live {
		every = waitRedraw
		defer w.program.voice.tell("\r\x1b[K")
	}
	var seen sight
	var looked time.Time
	last := ""
	for {
		if looked.IsZero() || time.Since(looked) >= waitLook {
			seen, looked = w.look(ctx), time.Now()
			if ctx.Err() != nil {
				return
			}
		}
		line := oneLine(fmt.Sprintf("waiting for %s: %s", quoted(w.name), seen.text(time.Now())))
		who := fmt.Sprint(seen.Held, seen.Holder, seen.err)
		switch {
		case live:
			w.program.voice.tell("\r" + cut("locker: "+line, width-1) + "\x1b[K")
		case who != last:
			w.program.say("%s", line)
		}
		last = who
		if !sleep(ctx, every) {
			return
		}
	}
}

// look returns who holds the lock.
func (w *waiting) look(ctx context.Context) sight {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	return inspectCtx(ctx, w.locks, w.name)
}

// sleep returns false if ctx ends before the time is over.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// cut returns a text that takes no more than width columns, if each rune takes one.
func cut(text string, width int) string {
	if width <= 0 {
		return text
	}
	if runes := []rune(text); len(runes) > width {
		return strings.TrimSpace(string(runes[:width]))
	}
	return text
}
