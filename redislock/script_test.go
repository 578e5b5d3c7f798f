package redislock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

// Sessions of the scripts' tests.
var (
	sessionA = strings.Repeat("a", 32)
	sessionB = strings.Repeat("b", 32)
	sessionC = strings.Repeat("c", 32)
)

func subscribeTo(t *testing.T, c *redis.Client, channels ...string) *redis.PubSub {
	t.Helper()
	p := c.Subscribe(t.Context(), channels...)
	t.Cleanup(func() { p.Close() })
	for range channels {
		if _, err := p.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// claimAs runs the claim script for a session on the server run2.
func claimAs(t *testing.T, c *redis.Client, sid string) string {
	t.Helper()
	text, err := c.Eval(t.Context(), claimScript.plain().text, []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby"},
		"n", sid, "0", "0", "run2", "1 1000000 1 host", expiry, "10000", "750000", "").Text()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A waiter that was woken and leaves passes the wake-up on, also while somebody
// who will not tell anyone is on the channel.
func TestLeavePassesTheWakeUpOn(t *testing.T) {
	t.Parallel()
	c := redistest.Start(t).Client(nil)
	subscribeTo(t, c, "n:w:"+sessionA)
	next := subscribeTo(t, c, "n:w:"+sessionB)
	c.RPush(t.Context(), "n:locker:queue", sessionA, sessionB)
	subscribeTo(t, c, "n", "n:h:"+sessionC)
	if got := claimAs(t, c, sessionC); got != "held 0" {
		t.Fatalf("a claim of one who does not wait, where others do: %q", got)
	}
	if err := c.Eval(t.Context(), leaveScript.plain().text, []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby"}, "n", sessionA).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		m, err := next.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal("the next one was not woken:", err)
		}
		if m.Payload == messageWake {
			return
		}
	}
}

// A release that leaves the lock to portalocker wakes nobody, and none of this library
// takes the lock meanwhile, pings it or stands by for it; and it does so no more often than
// it may, and only if nobody else holds the lock. That one has asked is not forgotten.
func TestReleaseYields(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := redistest.Start(t).Client(nil)
	keys := []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby"}
	waiting := subscribeTo(t, c, "n:w:"+sessionB, "w")
	pings := subscribeTo(t, c, "n")
	run := func(s string, args ...any) string {
		t.Helper()
		text, err := c.Eval(ctx, s, keys, args...).Text()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	// release returns what the waiter is told, and the key.
	release := func(generation string) (told, key string) {
		t.Helper()
		if text := run(releaseScript.plain().text, "n", sessionA, generation); text != "ok" {
			t.Fatal(text)
		}
		c.Publish(ctx, "w", "end")
		for {
			m, err := waiting.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if m.Channel == "w" {
				return told, c.Get(ctx, "n:locker:yield").Val()
			}
			told += m.Payload
		}
	}
	const first, later = 300_000, 2_000_000
	for _, tt := range []struct {
		about      string
		key        [2]time.Duration // how long ago the times of the key were; 0: none
		asked      int
		generation string
		isHeld     bool
		left       int64 // the lock is left for so long
		asks       bool  // it is remembered that somebody has asked
	}{
		{about: "nobody has asked", generation: "0"},
		{about: "the first generation has", generation: "1", left: first},
		{about: "a later one has", generation: "2", left: later},
		{about: "soon after the first", key: [2]time.Duration{100 * time.Millisecond, 0}, generation: "1"},
		{about: "some time after the first", key: [2]time.Duration{time.Second, 0}, generation: "1", left: first},
		{about: "soon after the first, a later one has", key: [2]time.Duration{100 * time.Millisecond, 0}, generation: "2", left: later},
		{about: "soon after a later one, it has again", key: [2]time.Duration{0, time.Second}, generation: "2", asks: true},
		{about: "it has, and now the first", key: [2]time.Duration{0, time.Second}, asked: 1, generation: "1", left: first, asks: true},
		{about: "it has, and it is time", key: [2]time.Duration{0, 3 * time.Second}, asked: 1, generation: "0", left: later},
		{about: "it has, and is there already", key: [2]time.Duration{0, 3 * time.Second}, generation: "0"},
		{about: "another session holds the lock", generation: "2", isHeld: true, asks: true},
		{about: "and the first generation has asked", generation: "1", isHeld: true},
		{about: "the clock was set back", key: [2]time.Duration{-time.Hour, -time.Hour}, generation: "2", left: later},
	} {
		t.Run(tt.about, func(t *testing.T) {
			c.Del(ctx, keys...)
			c.RPush(ctx, "n:locker:queue", sessionB)
			now := c.Time(ctx).Val()
			if tt.key != [2]time.Duration{} {
				var times [2]int64
				for i, ago := range tt.key {
					if ago != 0 {
						times[i] = now.Add(-ago).UnixMicro()
					}
				}
				c.Set(ctx, "n:locker:yield", fmt.Sprintf("%d %d %d", times[0], times[1], tt.asked), 0)
			}
			if tt.isHeld {
				c.Set(ctx, "n:locker:holder", fmt.Sprintf("%s 5 run 0 1 1 1000000 1 host", sessionC), 0)
				defer subscribeTo(t, c, "n:h:"+sessionC).Close()
			}
			told, key := release(tt.generation)
			if want := map[bool]string{true: messageWake}[tt.left == 0 && !tt.isHeld]; told != want {
				t.Errorf("the waiter was told %q, want %q", told, want)
			}
			if asks := strings.HasSuffix(key, " 1"); asks != tt.asks {
				t.Errorf("the key is %q", key)
			}
			if ttl := c.PTTL(ctx, "n:locker:yield").Val(); key != "" && (tt.left > 0 || tt.asks) && (ttl <= 0 || ttl > 4*time.Second) {
				t.Errorf("the key %q expires in %v", key, ttl)
			}
			if tt.left == 0 {
				return
			}
			look := run(lookScript.plain().text, "n", sessionB, expiry, lookToPoll, "{}", "")
			var left int64
			if _, err := fmt.Sscanf(look, "held 1 yield %d", &left); err != nil || left > tt.left || left < tt.left/2 {
				t.Errorf("the waiter looks: %q, want the lock left for %d", look, tt.left)
			}
			join := run(lookScript.plain().text, "n", strings.Repeat("d", 32), expiry, lookToJoin, "{}", "")
			defer subscribeTo(t, c, "n", "n:h:"+sessionC).Close()
			claim := claimAs(t, c, sessionC) // another is on the channel
			if !strings.HasPrefix(join, "held 2 yield ") || !strings.HasPrefix(claim, "held 0 yield ") {
				t.Errorf("one who comes: %q; a claim: %q", join, claim)
			}
		})
	}
	c.Publish(ctx, "n", "end")
	for m, err := pings.ReceiveMessage(ctx); m == nil || m.Payload != "end"; m, err = pings.ReceiveMessage(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("somebody said %q on the channel", m.Payload)
	}
}

// How long to settle is remembered when the one who settles dies, too.
func TestSettlingIsInherited(t *testing.T) {
	t.Parallel()
	c := redistest.Start(t).Client(nil)
	for _, tt := range []struct {
		run  string // the server of the last holder, which is gone
		want int64  // microseconds
	}{{"run2", 10000}, {"run1", 750000}} {
		c.Set(t.Context(), "n:locker:holder", fmt.Sprintf("%s 5 %s 0 1 1 1000000 1 host", sessionA, tt.run), 0)
		var first, second, token, waiting int64
		p := c.Subscribe(t.Context(), "n", "n:h:"+sessionB)
		for range 2 {
			if _, err := p.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		text := claimAs(t, c, sessionB) // whose session is gone, too: it has no session channel
		if _, err := fmt.Sscanf(text, "won %d %d %d", &token, &waiting, &first); err != nil || first != tt.want {
			t.Errorf("the claim after a holder of %s: %q, want to settle %d", tt.run, text, tt.want)
		}
		p.Close()
		next := subscribeTo(t, c, "n", "n:h:"+sessionC)
		for { // the server takes note of the Close a moment later
			if text = claimAs(t, c, sessionC); text != "first" {
				break
			}
		}
		if _, err := fmt.Sscanf(text, "won %d %d %d", &token, &waiting, &second); err != nil || second < min(tt.want, 10000) || second > tt.want {
			t.Errorf("the claim after that: %q, want to settle no more than %d, and 10000 at least", text, tt.want)
		}
		if tt.run == "run1" && second <= 10000 {
			t.Errorf("the claim after that: %q: the rest of the %d is forgotten", text, tt.want)
		}
		next.Close()
	}
}

// Nothing is kept of names that nobody uses any more.
func TestMembersAreForgotten(t *testing.T) {
	t.Parallel()
	o := Options{UnavailableTimeout: time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Second}
	for _, protocol := range []int{3, 2} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			s := redistest.Start(t)
			membersAreForgotten(t, func() *driver {
				return newSingle(s.Client(func(o *redis.Options) { o.Protocol = protocol }).Options(), o)
			})
		})
	}
	t.Run("Cluster", func(t *testing.T) { // where a channel is not called like its lock
		if testing.Short() {
			t.Skip("it takes a while, and -short is set")
		}
		c := redistest.StartCluster(t)
		membersAreForgotten(t, func() *driver { return newCluster(c.Client(nil), o) })
	})
}

// A server that does not know a script runs it later than what was sent after it: that of
// a release, perhaps, when the session is on the channel again, as another member. It is
// that one that tells those who wait, when it leaves.
func TestReleaseScriptThatComesLate(t *testing.T) {
	t.Parallel()
	d := newSingle(redistest.Start(t).Client(nil).Options(), Options{UnavailableTimeout: 10 * time.Second, HealthCheckInterval: 10 * time.Second})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
	lock, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	s := d.only.current("n")
	earlier := &member{session: s, name: "n", channel: "n"}
	answers := make(chan answer, 1)
	earlier.tell(nil, ours, answerTo(answers))
	if text, err := s.await(t.Context(), answers); text != "notyet" {
		t.Fatal(text, err)
	}
	s.mu.Lock()
	told := s.members["n"].told
	s.mu.Unlock()
	if !told {
		t.Error("the one who holds the lock does not know that others may wait")
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func membersAreForgotten(t *testing.T, newDriver func() *driver) {
	open := func() (*driver, *locker.Base) {
		d := newDriver()
		l := locker.NewBase(d)
		d.log = l.Logger()
		t.Cleanup(func() { l.Close() })
		return d, l
	}
	_, holder := open()
	d, other := open()
	for i := range 20 {
		name := fmt.Sprint("n", i)
		lock, err := holder.Acquire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := other.Acquire(t.Context(), name, locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Fatal(err)
			}
		}
		if _, err := other.Acquire(t.Context(), name, locker.WithTimeout(time.Millisecond)); err == nil {
			t.Fatal("acquired a lock that is held")
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		lock, err = other.Acquire(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		kept := 0
		for _, n := range d.nodes() {
			if s := n.current(""); s != nil {
				s.mu.Lock()
				kept += len(s.members)
				s.mu.Unlock()
			}
		}
		if kept == 0 {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%d members are kept", kept)
		}
	}
}
