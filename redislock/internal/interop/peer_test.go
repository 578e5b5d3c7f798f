package interop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// A peer locks as portalocker 4 does: 4.0 and 4.1 (generation 2), or 4.2 (generation
// 3), whose answers tell who is elected, and whose locks have tokens; and takes as long. See
// party_test.go for how it is used.
type peer struct {
	client     *redis.Client
	channel    string
	id         string
	generation int

	mu      sync.Mutex
	mode    string // guarded by mu: "pending" or "exclusive"
	elected bool   // guarded by mu

	leave func() error // closes the connection that is subscribed
}

// The times of portalocker 4.1, as it is unless told otherwise. Those of some(d) vary
// from half of d to half more.
const (
	peerCheckInterval = 250 * time.Millisecond // some, before each attempt
	peerUnavailable   = time.Second
	peerAnswerDelay   = 10 * time.Millisecond  // after SUBSCRIBE, before the first look
	peerSleep         = 100 * time.Millisecond // some, before a ping, and before each answer is looked for
)

func some(d time.Duration) time.Duration {
	return d/2 + time.Duration(mathrand.Int64N(int64(d)))
}

// A peerAnswer is what a holder, or somebody who wants to be one, answers.
type peerAnswer struct {
	HolderID string `json:"holder_id"`
	Mode     string `json:"mode"`
	Protocol int    `json:"protocol"`
	Elected  *bool  `json:"elected,omitempty"`
}

func newPeer(client *redis.Client, channel string, generation int) *peer {
	return &peer{client: client, channel: channel, id: randomHex(), generation: generation}
}

func randomHex() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (p *peer) acquire(timeout time.Duration) (uint64, error) {
	for began := time.Now(); ; {
		time.Sleep(some(peerCheckInterval))
		held, err := p.try()
		if err != nil {
			return 0, err
		}
		if held && p.generation == 3 {
			token, err := p.client.Incr(context.Background(), p.channel+"-fence").Result()
			return uint64(token), err //nolint:gosec // it is positive
		}
		if held {
			return 0, nil
		}
		if time.Since(began) >= timeout {
			return 0, locker.ErrAlreadyLocked
		}
	}
}

// try makes one attempt.
func (p *peer) try() (held bool, err error) {
	p.become("pending", false)
	if err := p.subscribe(); err != nil {
		return false, err
	}
	defer func() {
		if !held {
			err = errors.Join(err, p.release())
		}
	}()
	time.Sleep(peerAnswerDelay)
	n, err := p.subscribers()
	if err != nil || n == 1 {
		p.become("exclusive", true)
		return n == 1, err
	}
	answers, conclusive, err := p.probe(n)
	if err != nil || !conclusive {
		return false, err
	}
	for id, a := range answers {
		if a.Mode == "exclusive" || id < p.id || p.generation == 3 && a.isElected() {
			return false, nil
		}
	}
	if p.generation == 2 {
		p.become("exclusive", false)
		return true, nil
	}
	// Every promotion is confirmed.
	p.become("pending", true)
	if n, err = p.subscribers(); err != nil || n <= 1 {
		p.become("exclusive", true)
		return err == nil, err
	}
	answers, conclusive, err = p.probe(n)
	if err != nil || !conclusive {
		return false, err
	}
	for id, a := range answers {
		if a.Mode == "exclusive" || id < p.id && (a.isElected() || a.Elected == nil) {
			return false, nil
		}
	}
	p.become("exclusive", true)
	return true, nil
}

func (a peerAnswer) isElected() bool { return a.Elected != nil && *a.Elected }

func (p *peer) become(mode string, elected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.elected = mode, elected
}

func (p *peer) subscribers() (int64, error) {
	n, err := p.client.PubSubNumSub(context.Background(), p.channel).Result()
	return n[p.channel], err
}

// subscribe opens a connection with the name of the lock and the id, and has it
// answer pings.
func (p *peer) subscribe() error {
	o := *p.client.Options()
	o.ClientName = p.channel + "-lock-" + p.id
	var dialed atomic.Bool
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed.Swap(true) {
			return nil, net.ErrClosed // once it was cut, there is not to be another
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	named := redis.NewClient(&o)
	subscription := named.Subscribe(context.Background(), p.channel)
	p.leave = func() error { return errors.Join(subscription.Close(), named.Close()) }
	if _, err := subscription.Receive(context.Background()); err != nil {
		return err
	}
	go func() {
		for {
			m, err := subscription.ReceiveMessage(context.Background())
			if err != nil {
				return
			}
			var ping struct {
				ResponseChannel string `json:"response_channel"`
			}
			if json.Unmarshal([]byte(m.Payload), &ping) != nil || ping.ResponseChannel == "" {
				continue
			}
			p.mu.Lock()
			a := peerAnswer{HolderID: p.id, Mode: p.mode, Protocol: 1}
			if p.generation == 3 {
				a.Elected = &p.elected
			}
			text, _ := json.Marshal(a)
			p.mu.Unlock()
			p.client.Publish(context.Background(), ping.ResponseChannel, text)
		}
	}()
	return nil
}

func (p *peer) release() error {
	time.Sleep(time.Duration(mathrand.Int64N(int64(peerSleep))) + 10*time.Millisecond) // its thread ends first
	return p.leave()
}

func (p *peer) err() error { return nil }

// probe asks who is on the channel, where so many were counted. It is inconclusive where
// their number has changed, or not all have answered: those are disconnected.
func (p *peer) probe(expected int64) (others map[string]peerAnswer, conclusive bool, err error) {
	ctx := context.Background()
	channel := p.channel + "-" + randomHex()
	answers := p.client.Subscribe(ctx, channel)
	defer answers.Close()
	if _, err := answers.Receive(ctx); err != nil {
		return nil, false, err
	}
	time.Sleep(some(peerSleep))
	text, _ := json.Marshal(map[string]string{"response_channel": channel, "message": "ping"})
	if err := p.client.Publish(ctx, p.channel, text).Err(); err != nil {
		return nil, false, err
	}
	got := make(map[string]peerAnswer)
	for began := time.Now(); time.Since(began) < peerUnavailable && int64(len(got)) < expected; {
		time.Sleep(some(peerSleep))
		select {
		case m := <-answers.Channel():
			var a peerAnswer
			if json.Unmarshal([]byte(m.Payload), &a) == nil && a.HolderID != "" {
				got[a.HolderID] = a
			}
		case <-time.After(peerSleep):
		}
	}
	now, err := p.subscribers()
	if err != nil || now != expected {
		return nil, false, err
	}
	if int64(len(got)) < expected {
		return nil, false, p.disconnect(got)
	}
	delete(got, p.id)
	return got, true, nil
}

var fullName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// disconnect cuts the connections with the name of a lock that have not answered.
func (p *peer) disconnect(answered map[string]peerAnswer) error {
	list, err := p.client.Do(context.Background(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
	for line := range strings.Lines(list) {
		var connection, name string
		for word := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(word, "id="); ok {
				connection = v
			} else if v, ok := strings.CutPrefix(word, "name="); ok {
				name = v
			}
		}
		id, ok := strings.CutPrefix(name, p.channel+"-lock-")
		if _, alive := answered[id]; !ok || alive || id == p.id || !fullName.MatchString(id) {
			continue
		}
		err = errors.Join(err, p.client.ClientKillByFilter(context.Background(), "ID", connection).Err())
	}
	return err
}
