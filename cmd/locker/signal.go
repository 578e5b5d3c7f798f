package main

import (
	"os"
	"os/signal"
)

// caught are the signals that are for the command, too.
type caught struct {
	signals chan os.Signal
	ready   chan struct{} // closed when those are caught that end programs most often
}

// catch begins to catch signals, but for those that are ignored: the command is to
// ignore them as well, as nohup(1) wants it. Each takes some switches between threads,
// a third of a millisecond for all, in which others have better things to do.
func catch() *caught {
	c := &caught{make(chan os.Signal, 16), make(chan struct{})}
	go func() {
		first, others := forwarded()
		c.catch(first)
		close(c.ready)
		c.catch(others)
	}()
	return c
}

func (c *caught) catch(signals []os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(c.signals, s)
		}
	}
}

// wait returns the signals when the first of them are caught. One of the others that
// comes so early ends this process, and with it a command that would not know it yet.
func (c *caught) wait() <-chan os.Signal {
	<-c.ready
	return c.signals
}
