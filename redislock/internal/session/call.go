package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/redislock/internal/conn"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/resp"
	"github.com/golocker/locker/redislock/internal/server"
)

// What a session has the server do: scripts and messages, on its own connection or
// through the client of its server.

// run has a script run once, and calls done with its answer. before is sent
// first. On the fast path the script runs after what was sent before, else at
// any time from now on.
func (s *session) run(c protocol.Call, done func(string, error), before ...conn.Command) {
	s.write(c, done, before...)
	s.conn.Resume()
}

// write is run for a caller that calls conn.Resume, or conn.Help, if that can help: the script
// is on its way, on the session's own connection.
func (s *session) write(c protocol.Call, done func(string, error), before ...conn.Command) (canHelp bool) {
	if !s.fast {
		s.server.EvalLater(c, func() { s.conn.Send(before...) }, func(text string, err error) {
			if resp.IsDemotion(err) {
				s.end(fmt.Errorf("%w: %w", resp.ErrDemoted, err))
			}
			done(text, err)
		})
		return false
	}
	answered := func(r resp.Value, err error) {
		s.scripts.answered()
		done(r.Text, err)
	}
	return s.scripts.write(append(before, conn.Command{Words: c.ByName(), Done: func(r resp.Value, err error) {
		if protocol.IsUnknownScript(err) {
			s.conn.Send(conn.Command{Words: c.ByText(), Done: answered})
			return
		}
		answered(r, err)
	}}))
}

// ask runs a script and waits for its answer, or the end of ctx or the session.
func (s *session) ask(ctx context.Context, c protocol.Call) (string, error) {
	answers := make(chan answer, 1)
	s.run(c, answerTo(answers))
	return s.await(ctx, answers)
}

type answer struct {
	text string
	err  error
}

func answerTo(c chan answer) func(string, error) {
	return func(text string, err error) { c <- answer{text, err} }
}

func (s *session) await(ctx context.Context, c chan answer) (string, error) {
	select {
	case a := <-c:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-s.done:
		return "", s.ended()
	}
}

// sleep waits until d has passed, or ctx or the session has ended.
func (s *session) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return s.ended()
	case <-s.done:
		return s.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errBacklog = errors.New("too many commands are waiting to be sent")

// command sends a command after those before it, and does not block. done is called
// with the answer, "" for none, or with why there is none; it must not block.
func (s *session) command(done func(text string, err error), words ...string) {
	if s.fast {
		s.conn.Send(conn.Command{Words: words, Done: func(r resp.Value, err error) { done(r.Text, err) }})
		return
	}
	s.byClient(server.Request{Words: words, Done: done})
}

// byClient sends commands by the client, all of them by one connection.
func (s *session) byClient(requests ...server.Request) {
	select {
	case s.requests <- requests:
	default:
		for _, r := range requests {
			r.Done("", errBacklog)
		}
	}
}

// publish publishes a message after those before it, as command does.
func (s *session) publish(channel, payload string, done func(error)) {
	s.command(func(_ string, err error) { done(err) }, s.server.Scheme.Publish(), channel, payload)
}

// sendByClient sends what goes by the client: all that is due in one pipeline.
func (s *session) sendByClient() {
	for {
		var due []server.Request
		select {
		case due = <-s.requests:
		case <-s.done:
			return
		}
		for len(due) < maxPipeline && len(s.requests) > 0 {
			due = append(due, <-s.requests...)
		}
		s.server.Pipeline(s.server.Client(), due)
	}
}

// maxPipeline is how many commands go by the client in one write.
const maxPipeline = 256
