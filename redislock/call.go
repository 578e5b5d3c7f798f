package redislock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a session has the server do: scripts and messages, on its own connection or
// through the client of its node.

// run has a script run once, and calls done with its answer. before is sent
// first. On the fast path the script runs after what was sent before, else at
// any time from now on.
func (s *session) run(before []command, sc *script, keys, args []string, done func(string, error)) {
	s.runBy(s.wire.send, before, sc, keys, args, done)
}

// runBy is run with a function that sends.
func (s *session) runBy(send func(...command), before []command, sc *script, keys, args []string, done func(string, error)) {
	if !s.fast {
		s.wire.send(before...)
		s.node.running.Go(func() {
			text, err := s.node.eval(sc, keys, args)
			if isDemotion(err) {
				s.end(fmt.Errorf("%w: %w", errDemoted, err))
			}
			done(text, err)
		})
		return
	}
	code := sc.on(s.node)
	send(append(before, evaluation("EVALSHA", code.sha, keys, args, func(text string, err error) {
		if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			s.wire.send(evaluation("EVAL", code.text, keys, args, done))
			return
		}
		done(text, err)
	}))...)
}

// evaluation returns the command that runs a script on the session's connection.
func evaluation(word, script string, keys, args []string, done func(string, error)) command {
	words := slices.Concat([]string{word, script, countOf(keys)}, keys, args)
	return command{words: words, done: func(r reply, err error) { done(r.text, err) }}
}

// ask runs a script and waits for its answer, or the end of ctx or the session.
func (s *session) ask(ctx context.Context, sc *script, keys, args []string) (string, error) {
	answer := make(chan answer, 1)
	s.run(nil, sc, keys, args, answerTo(answer))
	return s.await(ctx, answer)
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

// A request is a command that goes by the client.
type request struct {
	words []string
	done  func(text string, err error)
}

var errBacklog = errors.New("too many commands are waiting to be sent")

// command sends a command after those before it, and does not block. done is called
// with the answer, "" for none, or with why there is none; it must not block.
func (s *session) command(done func(text string, err error), words ...string) {
	if s.fast {
		s.wire.send(command{words: words, done: func(r reply, err error) { done(r.text, err) }})
		return
	}
	s.byClient(request{words, done})
}

// byClient sends commands by the client, all of them by one connection.
func (s *session) byClient(requests ...request) {
	select {
	case s.requests <- requests:
	default:
		for _, r := range requests {
			r.done("", errBacklog)
		}
	}
}

// publish publishes a message after those before it, as command does.
func (s *session) publish(channel, payload string, done func(error)) {
	s.command(func(_ string, err error) { done(err) }, s.wire.shardWord("PUBLISH"), channel, payload)
}

// sendByClient sends what goes by the client: all that is due in one pipeline.
func (s *session) sendByClient() {
	for {
		var due []request
		select {
		case due = <-s.requests:
		case <-s.done:
			return
		}
		for len(due) < maxPipeline && len(s.requests) > 0 {
			due = append(due, <-s.requests...)
		}
		s.node.pipeline(s.node.client(), due)
	}
}

// maxPipeline is how many commands go by the client in one write.
const maxPipeline = 256

// pipeline sends requests by a client, in one write.
func (n *node) pipeline(c *redis.Client, due []request) {
	ctx, cancel := context.WithTimeout(n.ctx, n.options.UnavailableTimeout)
	defer cancel()
	p := c.Pipeline()
	for _, r := range due {
		words := make([]any, len(r.words))
		for i, w := range r.words {
			words[i] = w
		}
		p.Do(ctx, words...)
	}
	answers, _ := p.Exec(ctx) // whose error is that of one of them
	for i, r := range due {
		value, err := answers[i].(*redis.Cmd).Result()
		if errors.Is(err, redis.Nil) {
			value, err = "", nil
		}
		r.done(fmt.Sprint(value), plainly(err))
	}
}

// publish publishes a message through the client.
func (n *node) publish(ctx context.Context, channel, payload string) error {
	publish := n.client().Publish
	if n.shard != nil {
		publish = n.client().SPublish
	}
	return plainly(publish(ctx, channel, payload).Err())
}

// eval runs a script through the client.
func (n *node) eval(sc *script, keys, args []string) (string, error) {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a
	}
	ctx, cancel := context.WithTimeout(n.ctx, 2*limit(n.user.ReadTimeout))
	defer cancel()
	code := sc.on(n)
	text, err := n.client().EvalSha(ctx, code.sha, keys, values...).Text()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		text, err = n.client().Eval(ctx, code.text, keys, values...).Text()
	}
	return text, plainly(err)
}
