package redislock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// Break implements locker.Inspector. The holder is asked to give the lock up, which it
// does at once, and says so to its user first. One that does not is disconnected after
// the unavailable timeout, which costs it all its locks; and so is a holder that is not
// of this library.
func (d *driver) Break(ctx context.Context, name string) error {
	_, err := server.Within(ctx, d.env, func() (struct{}, error) {
		return struct{}{}, d.topology.at(ctx, name, func(s *server.Server) error { return breakLock(ctx, s, name) })
	})
	return err
}

var errStillHeld = errors.New("the lock is still held")

// breakLock breaks a lock at a server.
func breakLock(ctx context.Context, s *server.Server, name string) error {
	found, err := inspect(ctx, s, name)
	if err != nil || !found.Held {
		return err
	}
	broken := found.Holder
	gone := func() (bool, error) {
		now, err := inspect(ctx, s, name)
		return !now.Held || !broken.MayBe(now.Holder), err
	}
	if done, err := askToBreak(ctx, s, name, broken, gone); done || err != nil {
		return err
	}
	killed, err := cut(ctx, s, name, broken)
	if err != nil {
		return resp.Plainly(fmt.Errorf("the holder cannot be disconnected: %w", err))
	}
	if done, err := await(ctx, s.Env.Options.UnavailableTimeout, gone); done || err != nil {
		return err
	}
	if !killed {
		return fmt.Errorf("%w, by a connection whose name is not that of a holder: CLIENT LIST TYPE pubsub shows it", errStillHeld)
	}
	return errStillHeld
}

// askToBreak asks the holder of a lock to give it up, for a time at most, and reports whether
// it is gone.
func askToBreak(ctx context.Context, s *server.Server, name string, holder protocol.Hint, gone func() (bool, error)) (bool, error) {
	channel := s.Scheme.Channel(name)
	asked := []string{holder.SID}
	if holder.SID == "" { // the holder key was lost, or it is not of this library
		var err error
		if asked, err = s.SessionsOn(ctx, channel); len(asked) == 0 || err != nil {
			return false, resp.Plainly(err)
		}
	}
	// Again and again: one who has just acquired it may not know that yet.
	return await(ctx, s.Env.Options.UnavailableTimeout, func() (bool, error) {
		if done, err := gone(); done || err != nil {
			return done, err
		}
		for _, sid := range asked { // who does not hold it does nothing
			if err := s.Publish(ctx, protocol.HoldChannel(channel, sid), protocol.NewBreak(holder.Token)); err != nil {
				return false, err
			}
		}
		return false, nil
	})
}

// cut cuts the connection of a holder, and reports whether there was one.
func cut(ctx context.Context, s *server.Server, name string, holder protocol.Hint) (killed bool, err error) {
	var clients map[string]string
	if holder.SID == "" {
		clients, err = s.Others(ctx, s.Scheme.Channel(name), name, "")
	} else {
		clients, err = s.Connections(ctx)
		maps.DeleteFunc(clients, func(_, client string) bool { return !protocol.IsSession(client, holder.SID, name) })
	}
	if err != nil {
		return false, err
	}
	err = s.Kill(ctx, clients, func(id, client string) {
		killed = true
		s.Env.Log.Warn("lock broken: connection of the holder cut", "lock", name, "client", id, "name", client)
	})
	return killed, err
}

// How often the server is asked whether something has come about that takes a moment.
const (
	firstAsked = time.Millisecond // then doubled
	lastAsked  = 20 * time.Millisecond
)

// await asks until is says so, for a time at most.
func await(ctx context.Context, most time.Duration, is func() (bool, error)) (bool, error) {
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
