package redislock

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
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
	text, err := c.Eval(t.Context(), claimScript.plain.text, []string{"n-fence", "n-holder", "n-queue", "n-yield"},
		"n", sid, "0", "0", "run2", "1 1 host", expiry, "10000", "750000", "").Text()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A waiter that was woken and leaves passes the wake-up on, also while somebody
// who will not tell anyone is on the channel.
func TestLeavePassesTheWakeUpOn(t *testing.T) {
	c := redistest.Start(t).Client(nil)
	subscribeTo(t, c, "n:w:"+sessionA)
	next := subscribeTo(t, c, "n:w:"+sessionB)
	c.RPush(t.Context(), "n-queue", sessionA, sessionB)
	subscribeTo(t, c, "n", "n:h:"+sessionC)
	if got := claimAs(t, c, sessionC); got != "held 0" {
		t.Fatalf("a claim of one who does not wait, where others do: %q", got)
	}
	if err := c.Eval(t.Context(), leaveScript.plain.text, []string{"n-holder", "n-queue", "n-yield"}, "n", sessionA).Err(); err != nil {
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

// A release that leaves the lock to portalocker wakes nobody, and none of this
// library takes the lock meanwhile; and it does so no more often than it may.
func TestReleaseYields(t *testing.T) {
	c := redistest.Start(t).Client(nil)
	waiting := subscribeTo(t, c, "n:w:"+sessionB, "w")
	c.RPush(t.Context(), "n-queue", sessionB)
	const hour = "3600000000"
	yield := func(every string) {
		t.Helper()
		keys := []string{"n-holder", "n-queue", "n-yield"}
		if text, err := c.Eval(t.Context(), releaseScript.plain.text, keys, "n", sessionA, "900000", every).Text(); text != "ok" {
			t.Fatal(text, err)
		}
		c.Publish(t.Context(), "w", "end")
	}
	heard := func() (text string) {
		t.Helper()
		for {
			m, err := waiting.ReceiveMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if m.Channel == "w" {
				return text
			}
			text += m.Payload
		}
	}
	looks := func() string {
		t.Helper()
		text, err := c.Eval(t.Context(), lookScript.plain.text, []string{"n-holder", "n-queue", "n-yield"}, "n", sessionB, expiry, lookToPoll, "{}", "").Text()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	yield(hour)
	if got := heard(); got != "" {
		t.Errorf("the waiter was told %q", got)
	}
	var left int64
	if _, err := fmt.Sscanf(looks(), "held 1 yield %d", &left); err != nil || left > 900000 {
		t.Errorf("the waiter looks: %v, %d", err, left)
	}
	subscribeTo(t, c, "n", "n:h:"+sessionC)
	if got := claimAs(t, c, sessionC); !strings.HasPrefix(got, "held 0 yield ") {
		t.Errorf("a claim: %q", got)
	}
	c.Del(t.Context(), "n-queue")
	// What is no such time does not keep anybody from the lock.
	for _, forged := range []string{"", "x", "nan", "inf", "-inf", "99999999999999999999", "1", "0x7fffffffffffffff"} {
		c.Set(t.Context(), "n-yield", forged, 0)
		if got := claimAs(t, c, sessionC); !strings.HasPrefix(got, "won ") {
			t.Errorf("a claim with n-yield %q: %q", forged, got)
		}
	}
	c.Del(t.Context(), "n-yield")
	c.LPush(t.Context(), "n-yield", "x")
	if got := claimAs(t, c, sessionC); !strings.HasPrefix(got, "won ") {
		t.Errorf("a claim with a list in n-yield: %q", got)
	}
	c.RPush(t.Context(), "n-queue", sessionB)
	yield(hour) // for the first time: a list counts as missing
	if got := heard(); got != "" {
		t.Errorf("the waiter was told %q", got)
	}
	yield(hour)
	if got := heard(); got != "" {
		t.Errorf("while the lock is left to portalocker, the waiter was told %q", got)
	}
	c.Del(t.Context(), "n-holder")
	now := c.Time(t.Context()).Val().UnixMicro()
	c.Set(t.Context(), "n-yield", now-1, 0) // it is over
	yield(hour)
	if got := heard(); got != messageWake {
		t.Errorf("so soon after the last time, the waiter was told %q, want it woken", got)
	}
}

// How long to settle is remembered when the one who settles dies, too.
func TestSettlingIsInherited(t *testing.T) {
	c := redistest.Start(t).Client(nil)
	for _, tt := range []struct {
		run  string // the server of the last holder, which is gone
		want int64  // microseconds
	}{{"run2", 10000}, {"run1", 750000}} {
		c.Set(t.Context(), "n-holder", fmt.Sprintf("%s 5 %s 0 1 1 1 host", sessionA, tt.run), 0)
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

// A replica lets a session wait on its channels. An attempt that has come to one, as
// the slots were another's before, leaves no place there: when it is the primary one
// day, nobody would take its turn.
func TestNoPlaceAtAReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	c := redistest.StartCluster(t)
	d := newCluster(c.Client(nil), Options{UnavailableTimeout: 10 * time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	l := locker.NewBase(d)
	d.log = l.Logger()
	defer l.Close()
	replica := c.Servers[len(c.Servers)-1].Addr
	name := "n"
	for i := 0; slotOf(name) < 2*slots/3; i++ { // one of the shard of that replica
		name = fmt.Sprint("n", i)
	}
	node, err := c.Client(nil).MasterForKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	d.cluster.template = node.Options()
	d.cluster.nodes[replica] = d.cluster.newNode(replica)
	d.cluster.slots, d.cluster.fresh = []slotRange{{2 * slots / 3, slots - 1, replica}}, true
	lock, err := l.Acquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	asked := d.cluster.nodes[replica]
	if asked == nil || asked.current("") == nil {
		t.Fatal("the replica was not asked")
	}
	s := asked.current("")
	s.mu.Lock()
	if n := len(s.members); n > 0 {
		t.Errorf("%d members are kept at the replica", n)
	}
	s.mu.Unlock()
	waits, err := redistest.Client(t, replica, nil).PubSubShardChannels(t.Context(), "*:w:*").Result()
	if err != nil || len(waits) > 0 {
		t.Errorf("subscribed at the replica: %q, %v", waits, err)
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Which shard has which slots is asked by clients of our own: when a node has failed,
// the user's takes its time to dial that one, while a lock is free.
func TestSlotsAreNotAskedByTheUsersClient(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while, and -short is set")
	}
	servers := redistest.StartCluster(t)
	user := servers.Client(nil)
	d := newCluster(user, Options{UnavailableTimeout: time.Second, SettleTime: time.Millisecond, HealthCheckInterval: time.Minute})
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := d.cluster
	if n, err := c.nodeOf(t.Context(), 0); err != nil || n == nil {
		t.Fatal(n, err)
	}
	if len(c.slots) != 3 || len(c.known) < 3 {
		t.Fatalf("%d ranges of slots, %d nodes; want 3, and 3 or more", len(c.slots), len(c.known))
	}
	servers.Servers[0].Kill()
	var used commandCounter
	user.AddHook(&used)
	for range 20 {
		c.outdated()
		if n, err := c.nodeOf(t.Context(), slots-1); err != nil || n == nil {
			t.Fatal(n, err)
		}
	}
	if n := used.Load(); n != 0 {
		t.Errorf("the user's client was asked %d times", n)
	}
	// It is, when all that were known have gone.
	gone := c.newNode("127.0.0.1:1")
	c.nodes[gone.user.Addr], c.known = gone, []*node{gone}
	c.outdated()
	if n, err := c.nodeOf(t.Context(), slots-1); err != nil || n == nil || used.Load() == 0 {
		t.Error(n, err, used.Load())
	}
}

// A commandCounter counts the commands of a client.
type commandCounter struct{ atomic.Int64 }

func (*commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

func (*commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Nothing is kept of names that nobody uses any more.
func TestMembersAreForgotten(t *testing.T) {
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

// For a lock that is free, the first part of the script that claims does what the rest
// would have done: whatever it finds, the answer and the keys are the same without it.
func TestFreeIsAsClaim(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const far = 4102444800000000 // microseconds: the year 2100
	hint := func(sid, token, until string) string { return sid + " " + token + " run " + until + " 7 5 4 host" }
	times := regexp.MustCompile(`\d{15,16}|yield \d+`)
	for what, prepare := range map[string]func() []string{ // which returns what else is subscribed
		"nothing":         func() []string { return nil },
		"held by itself":  func() []string { c.Set(ctx, "n-holder", hint(sessionA, "8", "0"), 0); return nil },
		"to settle":       func() []string { c.Set(ctx, "n-holder", hint(sessionA, "8", fmt.Sprint(far)), 0); return nil },
		"settled":         func() []string { c.Set(ctx, "n-holder", hint(sessionA, "8", "12345"), 0); return nil },
		"held by another": func() []string { c.Set(ctx, "n-holder", hint(sessionB, "8", "0"), 0); return nil },
		"its session lives": func() []string {
			c.Set(ctx, "n-holder", hint(sessionB, "8", "0"), 0)
			return []string{sessionName(sessionB)}
		},
		"it still holds": func() []string {
			c.Set(ctx, "n-holder", hint(sessionB, "8", "0"), 0)
			return []string{"n", "n:h:" + sessionB}
		},
		"a hint of nothing":    func() []string { c.Set(ctx, "n-holder", "who knows", 0); return nil },
		"a hint in a list":     func() []string { c.RPush(ctx, "n-holder", "who knows"); return nil },
		"an old token":         func() []string { c.Set(ctx, "n-fence", 41, 0); return nil },
		"a token of later":     func() []string { c.Set(ctx, "n-fence", far, 0); return nil },
		"a token out of range": func() []string { c.Set(ctx, "n-fence", "9007199254740993", 0); return nil },
		"no token":             func() []string { c.Set(ctx, "n-fence", "x", 0); return nil },
		"somebody waits":       func() []string { c.RPush(ctx, "n-queue", sessionB); return []string{"n:w:" + sessionB} },
		"somebody did":         func() []string { c.RPush(ctx, "n-queue", sessionB); return nil },
		"it is next":           func() []string { c.RPush(ctx, "n-queue", sessionA, sessionB); return []string{"n:w:" + sessionB} },
		"it is the only next":  func() []string { c.RPush(ctx, "n-queue", sessionA); return nil },
		"no queue":             func() []string { c.Set(ctx, "n-queue", "x", 0); return nil },
		"left to portalocker": func() []string {
			c.Set(ctx, "n-yield", fmt.Sprint(time.Now().Add(500*time.Millisecond).UnixMicro()), 0)
			return nil
		},
		"it was":           func() []string { c.Set(ctx, "n-yield", "12", 0); return nil },
		"a claim meets it": func() []string { return []string{"n"} },
	} {
		for _, reserve := range []string{"0", "32"} {
			var outcomes []string
			for _, text := range []string{claimScript.plain.text, "local sharded = false\n" + commonLua + claimLua} {
				c.FlushAll(ctx)
				subscribed := []*redis.PubSub{subscribeTo(t, c, "n", "n:h:"+sessionA, sessionName(sessionA))}
				if others := prepare(); others != nil {
					subscribed = append(subscribed, subscribeTo(t, c, others...))
				}
				keys := []string{"n-fence", "n-holder", "n-queue", "n-yield"}
				answer, err := c.Eval(ctx, text, keys, "n", sessionA, "1", reserve, "run", "3 2 host", expiry, "10000", "750000", "").Text()
				if err != nil {
					t.Fatal(what, err)
				}
				if token, _, _, err := parseWon(answer); err == nil {
					reserved, _ := c.Get(ctx, "n-fence").Uint64()
					answer += fmt.Sprint("\nreserved ", reserved-token)
				}
				for _, key := range keys {
					answer += fmt.Sprintf("\n%s %v", key, c.TTL(ctx, key).Val())
					if key == "n-queue" {
						answer += fmt.Sprint(" ", c.LRange(ctx, key, 0, -1).Val())
					} else if value := c.Get(ctx, key).Val(); key != "n-yield" {
						answer += " " + value
					}
				}
				// Times are those of the run; of what is far, the exact ones matter.
				outcomes = append(outcomes, times.ReplaceAllStringFunc(answer, func(n string) string {
					if strings.HasPrefix(n, "4") || strings.HasPrefix(n, "9") {
						return n
					}
					return "TIME"
				}))
				for _, p := range subscribed {
					_ = p.Close()
				}
				for c.PubSubChannels(ctx, "*").Val() == nil || len(c.PubSubChannels(ctx, "*").Val()) > 0 {
					if ctx.Err() != nil {
						t.Fatal("the test takes too long")
					}
					time.Sleep(time.Millisecond)
				}
			}
			if outcomes[0] != outcomes[1] {
				t.Errorf("%s, %s to reserve: with free.lua\n%s\nwithout it\n%s", what, reserve, outcomes[0], outcomes[1])
			}
		}
	}
}
