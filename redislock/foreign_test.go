package redislock_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// dump returns what a key holds, and that it does not expire.
func dump(s *redistest.Server, key string) string {
	return fmt.Sprintf("%q %v", s.Do("DUMP", key), s.Do("TTL", key))
}

// What an application keeps beside a lock, under names that it may well choose, is left as
// it is: no name of a key of a lock is one of those.
func TestKeysOfAnApplicationAreLeftAlone(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		var keys []string
		put := func(words ...any) {
			s.Do(words...)
			keys = append(keys, words[1].(string))
		}
		put("RPUSH", "orders-queue", "job-1", "job-2", "job-3")
		put("HSET", "orders-holder", "name", "jim")
		put("SET", "orders-fence", "painted white")
		put("SADD", "orders-yield", "12 %")
		put("SET", "orders-standby", "42")
		put("SET", "orders", "a lock has a channel of that name, and no key")
		before := make(map[string]string)
		for _, key := range keys {
			before[key] = dump(s, key)
		}
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		held := acquire(t, a, "orders")
		next := make(chan locker.Lock, 1)
		go func() { next <- acquire(t, b, "orders") }()
		queued(t, s, "orders", 1)
		inspect(t, b, "orders")
		release(t, held)
		held = <-next
		if err := a.Break(t.Context(), "orders"); err != nil {
			t.Error(err)
		}
		await(t, "Done", held.Done())
		for key, want := range before {
			if got := dump(s, key); got != want {
				t.Errorf("%s was %s, and is %s", key, want, got)
			}
		}
	})
}

// A key that is called like one of a lock, and holds something else, is an application's:
// every attempt fails, with an error that names it, and nothing is changed.
func TestForeignKeysAreRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 32)
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		for i, words := range [][]any{
			{"SET", "fence", "painted white"}, {"SET", "fence", ""}, {"SET", "fence", "-5"}, {"SET", "fence", "1.5"},
			{"SET", "fence", "9007199254740993"}, {"LPUSH", "fence", "1"}, {"HSET", "fence", "a", "b"},
			{"SET", "holder", "jim"}, {"SET", "holder", ""}, {"SADD", "holder", "seat 1"}, {"SET", "holder", id + " 1 - 0 0 1 1 h"},
			{"SET", "holder", strings.ToUpper(id) + " 1 - 0 0 1 1 1 h"}, {"RPUSH", "holder", "x"},
			{"RPUSH", "queue", "job-1", "job-2", "job-3"}, {"SET", "queue", "long"}, {"HSET", "queue", "a", "b"}, {"ZADD", "queue", 1, id},
			{"SET", "yield", "sign"}, {"LPUSH", "yield", "1"},
			{"SET", "standby", "crew"}, {"SET", "standby", id + " x"}, {"SADD", "standby", "a"},
		} {
			what := fmt.Sprint(words)
			name := fmt.Sprint("lock ", i)
			key := name + ":locker:" + words[1].(string)
			words[1] = key
			s.Do(words...)
			before := dump(s, key)
			refused := func(op string, err error) {
				t.Helper()
				if !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "'"+key+"'") {
					t.Errorf("%s: %s: %v, want ErrUnavailable and the key", what, op, err)
				}
			}
			for _, opt := range []locker.Option{noWait, locker.WithTimeout(bound), locker.WithFailWhenLocked(true)} {
				_, err := a.Acquire(t.Context(), name, opt)
				refused("Acquire", err)
			}
			_, err := b.Inspect(t.Context(), name)
			refused("Inspect", err)
			refused("Break", b.Break(t.Context(), name))
			if got := names(t, b); len(got) > 0 {
				t.Errorf("%s: names %q", what, got)
			}
			if got := dump(s, key); got != before {
				t.Errorf("%s: it was %s, and is %s", what, before, got)
			}
			// A lock that is free once it is gone.
			s.Do("DEL", key)
			release(t, acquire(t, a, name))
		}
	})
}

// The same for a lock that is held, and waited for, when the key comes about.
func TestForeignKeysThatComeLater(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		a, b := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		for _, words := range [][]any{
			{"SET", "fence", "painted white"}, {"SET", "holder", "jim"}, {"SADD", "holder", "seat"},
			{"RPUSH", "queue", "job-1"}, {"SET", "yield", "sign"}, {"SET", "standby", "crew"},
		} {
			name := "lock " + words[1].(string)
			key := name + ":locker:" + words[1].(string)
			held := acquire(t, a, name)
			failed := make(chan error, 1)
			next := make(chan locker.Lock, 1)
			go func() {
				lock, err := b.Acquire(t.Context(), name, locker.WithTimeout(bound), locker.WithCheckInterval(20*time.Millisecond))
				failed <- err
				next <- lock
			}()
			queued(t, s, name, 1)
			words[1] = key
			s.Do(append([]any{"EVAL", "redis.call('DEL', KEYS[1]) return redis.call(ARGV[1], KEYS[1], ARGV[2])", 1, key, words[0]}, words[2:]...)...)
			before := dump(s, key)
			release(t, held)
			if _, err := a.Acquire(t.Context(), name, noWait); !errors.Is(err, locker.ErrUnavailable) && !errors.Is(err, locker.ErrAlreadyLocked) {
				t.Errorf("%v: %v", words, err)
			}
			if got := dump(s, key); got != before {
				t.Errorf("%v: it was %s, and is %s", words, before, got)
			}
			s.Do("DEL", key)
			if err := <-failed; err != nil {
				t.Errorf("%v: when it was gone, who waited has: %v", words, err)
				continue
			}
			release(t, <-next)
		}
	})
}

// portalocker's counter is an application's key, unless processes of portalocker are said
// to take part.
func TestPortalockerFence(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	with := openWith(t, s.Client(nil), &redislock.Options{PortalockerNames: true})
	without := open(t, s.Addr, 3)
	const far = "4102444800000000" // microseconds: the year 2100
	s.Do("SET", "n-fence", far)
	lock := acquire(t, without, "n")
	if lock.Token() > 4102444800000000 {
		t.Errorf("token %d: it was made of a key of an application", lock.Token())
	}
	release(t, lock)
	if got := s.Do("GET", "n-fence"); got != far {
		t.Errorf("n-fence is %v", got)
	}
	lock = acquire(t, with, "n")
	if lock.Token() <= 4102444800000000 {
		t.Errorf("token %d after %s of portalocker", lock.Token(), far)
	}
	if next := s.Do("INCR", "n-fence").(int64); uint64(next) <= lock.Token() {
		t.Errorf("portalocker's token %d after %d", next, lock.Token())
	}
	if ttl := s.Do("TTL", "n-fence"); ttl != int64(-1) {
		t.Errorf("n-fence has the TTL %v: portalocker would begin again", ttl)
	}
	release(t, lock)
	s.Do("SET", "n-fence", "painted white")
	if _, err := with.Acquire(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "'n-fence'") {
		t.Errorf("%v, want ErrUnavailable and the key", err)
	}
	if got := s.Do("GET", "n-fence"); got != "painted white" {
		t.Errorf("n-fence is %v", got)
	}
}
