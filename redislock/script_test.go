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

// A release that leaves the lock to portalocker wakes nobody, and none of this
// library takes the lock meanwhile; and it does so no more often than it may.
func TestReleaseYields(t *testing.T) {
	t.Parallel()
	c := redistest.Start(t).Client(nil)
	waiting := subscribeTo(t, c, "n:w:"+sessionB, "w")
	c.RPush(t.Context(), "n:locker:queue", sessionB)
	const hour = "3600000000"
	yield := func(every string) {
		t.Helper()
		keys := []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby"}
		if text, err := c.Eval(t.Context(), releaseScript.plain().text, keys, "n", sessionA, "900000", every).Text(); text != "ok" {
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
		text, err := c.Eval(t.Context(), lookScript.plain().text, []string{"n:locker:fence", "n:locker:holder", "n:locker:queue", "n:locker:yield", "n:locker:standby"}, "n", sessionB, expiry, lookToPoll, "{}", "").Text()
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
	c.Del(t.Context(), "n:locker:queue")
	// What is no time of now does not keep anybody from the lock.
	for _, forged := range []string{"0", "1", "9007199254739999"} {
		c.Set(t.Context(), "n:locker:yield", forged, 0)
		if got := claimAs(t, c, sessionC); !strings.HasPrefix(got, "won ") {
			t.Errorf("a claim with n-yield %q: %q", forged, got)
		}
	}
	c.Del(t.Context(), "n:locker:yield")
	c.RPush(t.Context(), "n:locker:queue", sessionB)
	yield(hour) // for the first time
	if got := heard(); got != "" {
		t.Errorf("the waiter was told %q", got)
	}
	yield(hour)
	if got := heard(); got != "" {
		t.Errorf("while the lock is left to portalocker, the waiter was told %q", got)
	}
	c.Del(t.Context(), "n:locker:holder")
	now := c.Time(t.Context()).Val().UnixMicro()
	c.Set(t.Context(), "n:locker:yield", now-1, 0) // it is over
	yield(hour)
	if got := heard(); got != messageWake {
		t.Errorf("so soon after the last time, the waiter was told %q, want it woken", got)
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
	earlier.tell(nil, false, answerTo(answers))
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
