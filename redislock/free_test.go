package redislock

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/internal/redistest"
)

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
			for _, text := range []string{claimScript.plain().text, "local sharded = false\n" + commonLua + claimLua} {
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
