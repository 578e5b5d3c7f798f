package protocol

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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
	return run(t, c, Claim{
		Channel: "n", SID: sid, Mode: ClaimOnce, Run: "run2", About: "1 1000000 1 host",
		Settle: 10 * time.Millisecond, SettleLong: 750 * time.Millisecond,
	}.In(Scheme{}))
}

// run runs a script, and returns its answer.
func run(t *testing.T, c *redis.Client, call Call) string {
	t.Helper()
	text, err := eval(t.Context(), c, call)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func eval(ctx context.Context, c *redis.Client, call Call) (string, error) {
	var words []any
	for _, w := range call.ByText() {
		words = append(words, w)
	}
	return c.Do(ctx, words...).Text()
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
	run(t, c, Leave{Channel: "n", SID: sessionA}.In(Scheme{}))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		m, err := next.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal("the next one was not woken:", err)
		}
		if m.Payload == MessageWake {
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
	keys := Scheme{}.Keys("n")
	waiting := subscribeTo(t, c, "n:w:"+sessionB, "w")
	pings := subscribeTo(t, c, "n")
	// release returns what the waiter is told, and the key.
	release := func(asked Generation) (told, key string) {
		t.Helper()
		if text := run(t, c, Release{"n", sessionA, asked}.In(Scheme{})); text != "ok" {
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
		generation Generation
		isHeld     bool
		left       int64 // the lock is left for so long
		asks       bool  // it is remembered that somebody has asked
	}{
		{about: "nobody has asked", generation: Ours},
		{about: "the first generation has", generation: FirstPortalocker, left: first},
		{about: "a later one has", generation: LaterPortalocker, left: later},
		{about: "soon after the first", key: [2]time.Duration{100 * time.Millisecond, 0}, generation: FirstPortalocker},
		{about: "some time after the first", key: [2]time.Duration{time.Second, 0}, generation: FirstPortalocker, left: first},
		{about: "soon after the first, a later one has", key: [2]time.Duration{100 * time.Millisecond, 0}, generation: LaterPortalocker, left: later},
		{about: "soon after a later one, it has again", key: [2]time.Duration{0, time.Second}, generation: LaterPortalocker, asks: true},
		{about: "it has, and now the first", key: [2]time.Duration{0, time.Second}, asked: 1, generation: FirstPortalocker, left: first, asks: true},
		{about: "it has, and it is time", key: [2]time.Duration{0, 3 * time.Second}, asked: 1, generation: Ours, left: later},
		{about: "it has, and is there already", key: [2]time.Duration{0, 3 * time.Second}, generation: Ours},
		{about: "another session holds the lock", generation: LaterPortalocker, isHeld: true, asks: true},
		{about: "and the first generation has asked", generation: FirstPortalocker, isHeld: true},
		{about: "the clock was set back", key: [2]time.Duration{-time.Hour, -time.Hour}, generation: LaterPortalocker, left: later},
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
			if want := map[bool]string{true: MessageWake}[tt.left == 0 && !tt.isHeld]; told != want {
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
			look := run(t, c, Look{Channel: "n", SID: sessionB, Why: LookToPoll}.In(Scheme{}))
			var left int64
			if _, err := fmt.Sscanf(look, "held 1 yield %d", &left); err != nil || left > tt.left || left < tt.left/2 {
				t.Errorf("the waiter looks: %q, want the lock left for %d", look, tt.left)
			}
			join := run(t, c, Look{Channel: "n", SID: strings.Repeat("d", 32), Why: LookToJoin}.In(Scheme{}))
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

// A renewal that comes when the lock is another's names nobody else as its holder.
func TestRenewalThatComesLate(t *testing.T) {
	c := redistest.Start(t).Client(nil)
	ctx := t.Context()
	hint := func(sid string, token int) string { return fmt.Sprintf("%s %d run 0 7 5 1000000 4 host", sid, token) }
	subscribeTo(t, c, "n", "n:h:"+sessionA)
	subscribeTo(t, c, "n:h:"+sessionB)
	for what, tt := range map[string]struct {
		before any // in the holder key
		sid    string
	}{
		"nobody is named":           {nil, sessionA},
		"one that has left":         {hint(sessionC, 8), sessionA},
		"it claims the lock":        {hint(sessionA, 0), sessionA},
		"it holds the lock":         {hint(sessionA, 8), sessionA},
		"another holds it":          {hint(sessionB, 8), sessionB},
		"another claims it as well": {hint(sessionB, 0), sessionB},
	} {
		c.FlushAll(ctx)
		if tt.before != nil {
			c.Set(ctx, "n:locker:holder", tt.before, 0)
		}
		run(t, c, Renew{
			Channel: "n", SID: sessionA, Token: 9, Last: 41, Run: "run", About: "5 1000000 4 host", Age: 12 * time.Microsecond,
		}.In(Scheme{Counter: true}))
		if got := ParseHint(c.Get(ctx, "n:locker:holder").Val()); got.SID != tt.sid || tt.sid == sessionA && got.Token == "0" {
			t.Errorf("%s: then it is %+v", what, got)
		}
		if fence, counter := c.Get(ctx, "n:locker:fence").Val(), c.Get(ctx, "n-fence").Val(); fence != "41" || counter != "41" {
			t.Errorf("%s: the last tokens are %s and %s", what, fence, counter)
		}
	}
}
