package protocol

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/resp"
)

// For a lock that is free, the first part of the script that claims does what the rest
// would have done: whatever it finds, the answer and the keys are the same without it.
func TestFreeIsAsClaim(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Client(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const far = 4102444800000000 // microseconds: the year 2100
	hint := func(sid, token, until string) string {
		return sid + " " + token + " run " + until + " 7 5 1000000 4 host"
	}
	times := regexp.MustCompile(`\d{15,16}|yield \d+`)
	for what, prepare := range map[string]func() []string{ // which returns what else is subscribed
		"nothing":         func() []string { return nil },
		"held by itself":  func() []string { c.Set(ctx, "n:locker:holder", hint(sessionA, "8", "0"), 0); return nil },
		"to settle":       func() []string { c.Set(ctx, "n:locker:holder", hint(sessionA, "8", fmt.Sprint(far)), 0); return nil },
		"settled":         func() []string { c.Set(ctx, "n:locker:holder", hint(sessionA, "8", "12345"), 0); return nil },
		"held by another": func() []string { c.Set(ctx, "n:locker:holder", hint(sessionB, "8", "0"), 0); return nil },
		"its session lives": func() []string {
			c.Set(ctx, "n:locker:holder", hint(sessionB, "8", "0"), 0)
			return []string{SessionChannel(sessionB)}
		},
		"it still holds": func() []string {
			c.Set(ctx, "n:locker:holder", hint(sessionB, "8", "0"), 0)
			return []string{"n", "n:h:" + sessionB}
		},
		"a hint of nothing": func() []string { c.Set(ctx, "n:locker:holder", "who knows", 0); return nil },
		"a hint in a list":  func() []string { c.RPush(ctx, "n:locker:holder", "who knows"); return nil },
		"an old token":      func() []string { c.Set(ctx, "n:locker:fence", 41, 0); return nil },
		"a long one":        func() []string { c.Set(ctx, "n:locker:fence", "aaaaaaaaaaaaaaaa", 0); return nil },
		"a long number":     func() []string { c.Set(ctx, "n:locker:fence", "0x0872833d753207", 0); return nil },
		"one with blanks":   func() []string { c.Set(ctx, "n:locker:fence", "         2.4e+15", 0); return nil },
		"one of today, held": func() []string {
			c.Set(ctx, "n:locker:fence", time.Now().UnixMicro(), 0)
			c.Set(ctx, "n:locker:holder", hint(sessionA, "8", "0"), 0)
			return nil
		},
		"one of last week":     func() []string { c.Set(ctx, "n:locker:fence", time.Now().AddDate(0, 0, -7).UnixMicro(), 0); return nil },
		"one of today":         func() []string { c.Set(ctx, "n:locker:fence", time.Now().UnixMicro(), 0); return nil },
		"one of soon":          func() []string { c.Set(ctx, "n:locker:fence", time.Now().Add(time.Hour).UnixMicro(), 0); return nil },
		"a claim that settles": func() []string { c.Set(ctx, "n:locker:holder", hint(sessionA, "0", fmt.Sprint(far)), 0); return nil },
		"a token of later":     func() []string { c.Set(ctx, "n:locker:fence", far, 0); return nil },
		"a token out of range": func() []string { c.Set(ctx, "n:locker:fence", "9007199254740993", 0); return nil },
		"no token":             func() []string { c.Set(ctx, "n:locker:fence", "x", 0); return nil },
		"somebody waits":       func() []string { c.RPush(ctx, "n:locker:queue", sessionB); return []string{"n:w:" + sessionB} },
		"somebody did":         func() []string { c.RPush(ctx, "n:locker:queue", sessionB); return nil },
		"it is next": func() []string {
			c.RPush(ctx, "n:locker:queue", sessionA, sessionB)
			return []string{"n:w:" + sessionB}
		},
		"it is the only next": func() []string { c.RPush(ctx, "n:locker:queue", sessionA); return nil },
		"no queue":            func() []string { c.Set(ctx, "n:locker:queue", "x", 0); return nil },
		"left to portalocker": func() []string {
			c.Set(ctx, "n:locker:yield", yieldFor(500*time.Millisecond), 0)
			return nil
		},
		"it was":           func() []string { c.Set(ctx, "n:locker:yield", "12 0 0", 0); return nil },
		"a claim meets it": func() []string { return []string{"n"} },
	} {
		for _, reserve := range []int{0, 32} {
			var outcomes []string
			for _, sc := range []*script{claimScript, newScript("common", "claim")} {
				c.FlushAll(ctx)
				subscribed := []*redis.PubSub{subscribeTo(t, c, "n", "n:h:"+sessionA, SessionChannel(sessionA))}
				if others := prepare(); others != nil {
					subscribed = append(subscribed, subscribeTo(t, c, others...))
				}
				keys := Scheme{}.Keys("n")
				claim := Claim{
					Channel: "n", SID: sessionA, Mode: ClaimQueue, Reserve: reserve, Run: "run", About: "3 1000000 2 host",
					Settle: 10 * time.Millisecond, SettleLong: 750 * time.Millisecond,
				}
				answer, err := eval(ctx, c, claim.by(sc, Scheme{}))
				if err != nil {
					answer = errorOf(err)
				}
				if a, err := ParseClaim(answer); err == nil && a.Outcome == OutcomeWon {
					reserved, _ := c.Get(ctx, "n:locker:fence").Uint64()
					answer += fmt.Sprint("\nreserved ", reserved-a.Won.Token)
				}
				for _, key := range keys {
					answer += fmt.Sprintf("\n%s %v", key, c.TTL(ctx, key).Val())
					if key == "n:locker:queue" {
						answer += fmt.Sprint(" ", c.LRange(ctx, key, 0, -1).Val())
					} else if value := c.Get(ctx, key).Val(); key != "n:locker:yield" {
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
				t.Errorf("%s, %d to reserve: with free.lua\n%s\nwithout it\n%s", what, reserve, outcomes[0], outcomes[1])
			}
		}
	}
}

// errorOf returns an error without where it is in a script.
func errorOf(err error) string { return fmt.Sprint(resp.Plainly(err)) }

// The same goes for the first part of the script that releases.
func TestGiveIsAsRelease(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Client(nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const far = 4102444800000000 // microseconds: the year 2100
	hint := func(sid, until string) string { return sid + " 8 run " + until + " 7 5 1000000 4 host" }
	standby := func(sid, reserve, run string) string {
		return sid + " " + reserve + " 3600 10000 750000 " + run + " 3 1000000 2 host"
	}
	sessionD := strings.Repeat("d", 32)
	lives := SessionChannel(sessionA)
	standsBy := []string{lives, "n", "n:h:" + sessionB, "n:w:" + sessionB}
	times := regexp.MustCompile(`\d{15,16}`)
	for what, tt := range map[string]struct {
		prepare func()
		others  []string   // what else is subscribed
		asked   Generation // who of portalocker has asked
	}{
		"one stands by":                 {func() {}, standsBy, Ours},
		"the holder is gone":            {func() {}, standsBy[1:], Ours},
		"its server is, too":            {func() { c.Set(ctx, "n:locker:standby", standby(sessionB, "0", "run2"), 0) }, standsBy[1:], Ours},
		"tokens are reserved":           {func() { c.Set(ctx, "n:locker:standby", standby(sessionB, "32", "run"), 0) }, standsBy, Ours},
		"another stands by":             {func() { c.Set(ctx, "n:locker:standby", standby(sessionC, "0", "run"), 0) }, standsBy, Ours},
		"nobody does":                   {func() { c.Del(ctx, "n:locker:standby") }, standsBy, Ours},
		"it only waits":                 {func() {}, []string{lives, "n:w:" + sessionB}, Ours},
		"it only holds":                 {func() {}, []string{lives, "n", "n:h:" + sessionB}, Ours},
		"it is gone":                    {func() {}, []string{lives}, Ours},
		"another is there":              {func() {}, append([]string{"n:h:" + sessionC}, standsBy...), Ours},
		"another holds it":              {func() { c.Set(ctx, "n:locker:holder", hint(sessionC, "0"), 0) }, append([]string{"n:h:" + sessionC}, standsBy...), Ours},
		"another held it":               {func() { c.Set(ctx, "n:locker:holder", hint(sessionC, "0"), 0) }, standsBy, Ours},
		"no holder":                     {func() { c.Del(ctx, "n:locker:holder") }, standsBy, Ours},
		"a hint of nothing":             {func() { c.Set(ctx, "n:locker:holder", "who knows", 0) }, standsBy, Ours},
		"to settle":                     {func() { c.Set(ctx, "n:locker:holder", hint(sessionA, fmt.Sprint(far)), 0) }, standsBy, Ours},
		"still there":                   {func() {}, append([]string{"n:h:" + sessionA}, standsBy...), Ours},
		"tokens in the future":          {func() { c.Set(ctx, "n:locker:fence", far, 0) }, standsBy, Ours},
		"no token":                      {func() { c.Set(ctx, "n:locker:fence", "none", 0) }, standsBy, Ours},
		"a list of tokens":              {func() { c.Del(ctx, "n:locker:fence"); c.RPush(ctx, "n:locker:fence", "x") }, standsBy, Ours},
		"another is before it":          {func() { c.LPush(ctx, "n:locker:queue", sessionC) }, append([]string{"n:w:" + sessionC}, standsBy...), Ours},
		"one was":                       {func() { c.LPush(ctx, "n:locker:queue", sessionC) }, standsBy, Ours},
		"another is behind it":          {func() { c.RPush(ctx, "n:locker:queue", sessionC) }, append([]string{"n:w:" + sessionC}, standsBy...), Ours},
		"one behind it is gone":         {func() { c.RPush(ctx, "n:locker:queue", sessionC) }, standsBy, Ours},
		"one behind it claims":          {func() { c.RPush(ctx, "n:locker:queue", sessionC) }, append([]string{"n:h:" + sessionC}, standsBy...), Ours},
		"two are behind it":             {func() { c.RPush(ctx, "n:locker:queue", sessionC, sessionD) }, append([]string{"n:w:" + sessionC, "n:w:" + sessionD}, standsBy...), Ours},
		"the second is gone":            {func() { c.RPush(ctx, "n:locker:queue", sessionC, sessionD) }, append([]string{"n:w:" + sessionC}, standsBy...), Ours},
		"no queue":                      {func() { c.Set(ctx, "n:locker:queue", "x", 0) }, standsBy, Ours},
		"an empty queue":                {func() { c.Del(ctx, "n:locker:queue") }, standsBy, Ours},
		"to leave it":                   {func() {}, standsBy, LaterPortalocker},
		"to do so again":                {func() { c.Set(ctx, "n:locker:yield", "12 12 1", 0) }, standsBy, Ours},
		"it is left":                    {func() { c.Set(ctx, "n:locker:yield", yieldFor(500*time.Millisecond), 0) }, standsBy, Ours},
		"it was":                        {func() { c.Set(ctx, "n:locker:yield", "12 0 0", 0) }, standsBy, Ours},
		"n:locker:standby is a list":    {func() { c.Del(ctx, "n:locker:standby"); c.RPush(ctx, "n:locker:standby", "x") }, standsBy, Ours},
		"n:locker:standby says nothing": {func() { c.Set(ctx, "n:locker:standby", sessionB+" x", 0) }, standsBy, Ours},
	} {
		var outcomes []string
		for _, sc := range []*script{releaseScript, newScript("common", "release")} {
			c.FlushAll(ctx)
			c.Set(ctx, "n:locker:fence", "8", 0)
			c.Set(ctx, "n:locker:holder", hint(sessionA, "0"), 0)
			c.Set(ctx, "n:locker:standby", standby(sessionB, "0", "run"), 0)
			c.RPush(ctx, "n:locker:queue", sessionB)
			tt.prepare()
			subscribed := subscribeTo(t, c, append([]string{"end"}, tt.others...)...)
			keys := Scheme{}.Keys("n")
			answer, err := eval(ctx, c, Release{"n", sessionA, tt.asked}.by(sc, Scheme{}))
			outcome := fmt.Sprint(answer, errorOf(err))
			c.Publish(ctx, "end", "")
			for {
				m, err := subscribed.ReceiveMessage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if m.Channel == "end" {
					break
				}
				outcome += "\n" + m.Channel + ": " + m.Payload
			}
			for _, key := range keys {
				outcome += fmt.Sprintf("\n%s %v %v %v", key, c.TTL(ctx, key).Val(), c.Get(ctx, key).Val(), c.LRange(ctx, key, 0, -1).Val())
			}
			reserved, _ := c.Get(ctx, "n:locker:fence").Uint64()
			var token uint64
			_, _ = fmt.Sscanf(c.Get(ctx, "n:locker:holder").Val(), sessionB+" %d ", &token)
			outcome += fmt.Sprint("\nreserved ", reserved-token)
			outcomes = append(outcomes, times.ReplaceAllStringFunc(outcome, func(n string) string {
				if strings.HasPrefix(n, "4") {
					return n
				}
				return "TIME"
			}))
			_ = subscribed.Close()
			for len(c.PubSubChannels(ctx, "*").Val()) > 0 {
				if ctx.Err() != nil {
					t.Fatal("the test takes too long")
				}
				time.Sleep(time.Millisecond)
			}
		}
		if outcomes[0] != outcomes[1] {
			t.Errorf("%s: with give.lua\n%s\nwithout it\n%s", what, outcomes[0], outcomes[1])
		}
		if what == "one stands by" && !strings.Contains(outcomes[0], "n:h:"+sessionB+": won ") {
			t.Errorf("%s: %s", what, outcomes[0])
		}
	}
}

// yieldFor is a value of the yield key: the lock is left to portalocker for d.
func yieldFor(d time.Duration) string { return fmt.Sprintf("0 %d 0", time.Now().Add(d).UnixMicro()) }
