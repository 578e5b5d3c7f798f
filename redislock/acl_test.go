package redislock_test

import (
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redisacl"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// The user of the README, who may not do more than it says, can do all that a lock
// needs: TestConformanceTLS is the same with RESP3.
func TestConformanceACL(t *testing.T) {
	if testing.Short() {
		t.Skip("the user of the README is in TestConformanceTLS, too")
	}
	conformance(t, func(t testing.TB) string {
		s := redistest.Start(t)
		setAnyNameUser(t, s)
		return "redis://myapp:password@" + s.Addr + "?protocol=2"
	})
}

// setAnyNameUser makes the user of the README, for locks of any name, and has the
// test fail if anything is denied to it.
func setAnyNameUser(t testing.TB, s *redistest.Server) {
	t.Helper()
	setUser(s, "myapp", append(myappRules(), "~*", "&*", "+scan"))
	t.Cleanup(func() { nothingDenied(t, s) })
}

// myappRules returns the rules of the README's user myapp, whose password is "password"
// and whose locks have names that begin with "myapp:".
func myappRules() []string {
	return append([]string{"on", ">password"}, redisacl.Rules("myapp:")...)
}

func setUser(s *redistest.Server, name string, rules []string) {
	args := []any{"ACL", "SETUSER", name}
	for _, rule := range rules {
		args = append(args, rule)
	}
	s.Do(args...)
}

// nothingDenied checks that the server has denied nothing to anybody.
func nothingDenied(t testing.TB, s *redistest.Server) {
	t.Helper()
	for _, entry := range s.Do("ACL", "LOG").([]any) {
		e := entry.(map[any]any)
		// go-redis asks for client|setinfo, and does without. Redis 6.2 names no subcommand.
		if e["object"] != "client|setinfo" && e["object"] != "client" {
			t.Errorf("the server has denied a %v: %v", e["reason"], e["object"])
		}
	}
}

// userOptions changes the options of a client to those of a user of the README.
func userOptions(name string, protocol int) func(*redis.Options) {
	return func(o *redis.Options) { o.Username, o.Password, o.Protocol = name, "password", protocol }
}

// The patterns of the README are enough for the keys and channels of a lock whose
// name begins as they do: to wait for it, to hand it over, to answer whoever asks, and
// to have a holder disconnected that hangs.
func TestPermissionsForAPrefix(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		setUser(s, "myapp", myappRules())
		var logs syncBuffer
		open := func(o *redislock.Options) *redislock.Locker {
			return openWith(t, s.Client(userOptions("myapp", protocol)), o,
				locker.WithCheckInterval(20*time.Millisecond), locker.WithLogger(slog.New(slog.NewTextHandler(&logs, nil))))
		}
		a, b := open(nil), open(nil)
		held := acquire(t, a, "myapp:x")
		acquired := make(chan locker.Lock, 1)
		go func() { acquired <- acquire(t, b, "myapp:x") }()
		queued(t, s, "myapp:x", 1)
		answers := listen(t, s, "myapp:x-0.25")
		s.Do("PUBLISH", "myapp:x", `{"response_channel": "myapp:x-0.25"}`)
		receive(t, answers)
		release(t, held)
		release(t, <-acquired)

		hung := s.Raw()
		id := strings.Repeat("5", 32)
		hung.Do("CLIENT", "SETNAME", "locker:session:"+id)
		hung.Do("SUBSCRIBE", "myapp:x", "myapp:x:h:"+id)
		acquire(t, open(&redislock.Options{UnavailableTimeout: 200 * time.Millisecond}), "myapp:x") // Close gives it back
		if !strings.Contains(logs.String(), "connection cut") {
			t.Errorf("the log: %s", logs.String())
		}
		nothingDenied(t, s)
	})
}

// A lock whose name does not begin as the patterns do is an error that says whether
// it is the channel or the key that is denied.
func TestOutsideOfThePrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, lock string
		drop, add  string // rules
		says       string
	}{
		{"channel", "other", "~myapp:*", "~*", "channel"},
		{"key", "other", "&myapp:*", "&*", "key"},
		{"channel or key", "other", "", "", ""},
		{"channel of the session", "myapp:x", "&locker:session:*", "", "channel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			rules := without(myappRules(), tt.drop)
			if tt.add != "" {
				rules = append(rules, tt.add)
			}
			setUser(s, "myapp", rules)
			says := regexp.MustCompile("(?i)no permissions to access (a|one of the) " + tt.says)
			protocols(t, func(t *testing.T, protocol int) {
				l := openWith(t, s.Client(userOptions("myapp", protocol)), nil)
				for range 20 { // with RESP2, two answers come in any order
					_, err := l.Acquire(t.Context(), tt.lock)
					if !errors.Is(err, locker.ErrUnavailable) || !says.MatchString(err.Error()) {
						t.Fatalf("Acquire(%q): %v, want ErrUnavailable that says %q", tt.lock, err, says)
					}
				}
			})
		})
	}
}

// denying returns rules that deny one of the permissions to a user who has all.
// Redis 6.2 knows none for a subcommand: the others are permitted.
func denying(permission string) []string {
	command, _, _ := strings.Cut(permission, "|")
	rules := []string{"-" + command}
	for _, rule := range myappRules() {
		if strings.HasPrefix(rule, "+"+command+"|") && rule != "+"+permission {
			rules = append(rules, rule)
		}
	}
	return rules
}

func without(rules []string, rule string) []string {
	return slices.DeleteFunc(rules, func(r string) bool { return r == rule })
}

// A database other than 0 needs the permission for SELECT, which the README names
// besides.
func TestPermissionForADatabase(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		setUser(s, "myapp", myappRules())
		l := openWith(t, s.Client(func(o *redis.Options) {
			userOptions("myapp", protocol)(o)
			o.DB = 1
		}), nil)
		if _, err := l.Acquire(t.Context(), "myapp:x"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "'select'") {
			t.Errorf("Acquire: %v, want ErrUnavailable that names 'select'", err)
		}
		setUser(s, "myapp", []string{"+select"})
		release(t, acquire(t, l, "myapp:x"))
	})
}
