package main

import (
	"os"
	"os/signal"
)

// caught are the signals that are for the command, too.
type caught struct {
	signals chan os.Signal
	ready   chan struct{} // closed when they are caught
}

// catch begins to catch signals, but for SIGHUP and SIGINT that are ignored: the command
// is to ignore them as well, as nohup(1) wants it. (Which of the others were ignored, Go
// does not tell.) Each takes some switches between threads,
// a third of a millisecond for all, in which others have better things to do.
func catch() *caught {
	c := &caught{make(chan os.Signal, 16), make(chan struct{})}
	go func() {
		for _, s := range forwarded() {
			if !signal.Ignored(s) {
				signal.Notify(c.signals, s)
			}
		}
		close(c.ready)
	}()
	return c
}

// wait returns the signals when they are caught. No command begins before: it would not
// be told of one that comes earlier.
func (c *caught) wait() <-chan os.Signal {
	<-c.ready
	return c.signals
}
