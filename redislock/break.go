package redislock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Break implements locker.Inspector. The holder is asked to give the lock up, which it
// does at once, and says so to its user first. One that does not is disconnected after
// the unavailable timeout, which costs it all its locks; and so is a holder that is not
// of this library.
func (d *driver) Break(ctx context.Context, name string) error {
	_, err := within(ctx, d, func() (struct{}, error) {
		return struct{}{}, d.on(ctx, name, func(n *node) error { return n.breakLock(ctx, name) })
	})
	return err
}

const errReplica = serverError("READONLY the server is a replica, which does not know who holds locks")

var errStillHeld = errors.New("the lock is still held")

func (n *node) breakLock(ctx context.Context, name string) error {
	channel := n.channelOf(name)
	f, err := n.inspect(ctx, channel)
	if err != nil || !f.held {
		return err
	}
	broken := f.holder
	gone := func() (bool, error) {
		now, err := n.inspect(ctx, channel)
		return !now.held || !broken.mayBe(now.holder), err
	}
	asked := []string{broken.sid}
	if broken.sid == "" { // the holder key was lost, or it is not of this library
		if asked, err = n.sessionsOn(ctx, channel); err != nil {
			return plainly(err)
		}
	}
	if len(asked) > 0 {
		// Again and again: one who has just acquired it may not know that yet.
		ask := func() (bool, error) {
			if done, err := gone(); done || err != nil {
				return done, err
			}
			for _, sid := range asked { // who does not hold it does nothing
				if err := n.publish(ctx, channel+":h:"+sid, messageBreak+broken.token); err != nil {
					return false, err
				}
			}
			return false, nil
		}
		if done, err := n.await(ctx, n.options.UnavailableTimeout, ask); done || err != nil {
			return err
		}
	}
	killed, err := n.cut(ctx, channel, name, broken)
	if err != nil {
		return plainly(fmt.Errorf("the holder cannot be disconnected: %w", err))
	}
	if done, err := n.await(ctx, n.options.UnavailableTimeout, gone); done || err != nil {
		return err
	}
	if killed == 0 {
		return fmt.Errorf("%w, by a connection whose name is not that of a holder: CLIENT LIST TYPE pubsub shows it", errStillHeld)
	}
	return errStillHeld
}

// cut cuts the connection of a holder, and returns how many it has cut.
func (n *node) cut(ctx context.Context, channel, name string, holder hint) (killed int64, err error) {
	var clients map[string]string
	if holder.sid == "" {
		clients, err = n.others(ctx, channel, name, "")
	} else {
		clients, err = n.subscribers(ctx)
	}
	for id, client := range clients {
		if holder.sid != "" && !isSession(client, holder.sid, name) {
			continue
		}
		var k int64
		if k, err = n.client().ClientKillByFilter(ctx, "ID", id).Result(); err != nil {
			break
		}
		if killed += k; k > 0 {
			n.log.Warn("lock broken: connection of the holder cut", "lock", name, "client", id, "name", client)
		}
	}
	return killed, err
}

// mayBe reports whether now, as far as is known, is the hold that h was: its hint may have
// been lost or restored meanwhile.
func (h hint) mayBe(now hint) bool {
	known := func(token string) bool { return token != "" && token != "0" }
	return now.sid == "" || now.sid == h.sid && (now.token == h.token || !known(now.token) || !known(h.token))
}

// How often the server is asked whether something has come about that takes a moment.
const (
	firstAsked = time.Millisecond // then doubled
	lastAsked  = 20 * time.Millisecond
)

// await asks until is says so, for a time at most.
func (n *node) await(ctx context.Context, most time.Duration, is func() (bool, error)) (bool, error) {
	end := time.Now().Add(most)
	for pause := firstAsked; ; pause = min(2*pause, lastAsked) {
		if yes, err := is(); yes || err != nil || time.Now().After(end) {
			return yes, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}
