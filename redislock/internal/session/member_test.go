package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock/internal/protocol"
	"github.com/golocker/locker/redislock/internal/server"
)

// Nothing is kept of names that nobody uses any more.
func TestMembersAreForgotten(t *testing.T) {
	t.Parallel()
	for _, version := range []int{3, 2} {
		t.Run(fmt.Sprint("RESP", version), func(t *testing.T) {
			s := redistest.Start(t)
			user := s.Client(func(o *redis.Options) { o.Protocol = version }).Options()
			membersAreForgotten(t, func() (*locker.Base, *driver) { return openWith(t, user, calm) })
		})
	}
	t.Run("Cluster", func(t *testing.T) { // where a channel is not called like its lock
		if testing.Short() {
			t.Skip("it takes a while, and -short is set")
		}
		c := redistest.StartCluster(t)
		node, slot := c.Primary("{x}")
		command := redis.NewClusterSlotsCmd(t.Context(), "cluster", "slots")
		_ = c.Client(nil).Process(t.Context(), command)
		shards, err := command.Result()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(shards, func(s redis.ClusterSlot) bool { return s.Start <= slot && slot <= s.End })
		here := func(sid string) bool {
			slot := protocol.Slot(protocol.SessionChannel(sid))
			return shards[i].Start <= slot && slot <= shards[i].End
		}
		membersAreForgotten(t, func() (*locker.Base, *driver) {
			env := server.NewEnv(calm)
			return openOn(t, &server.Server{
				Env: env, User: redistest.Client(t, node.Addr, nil).Options(), Scheme: protocol.Scheme{Sharded: true}, MayHave: here,
			})
		})
	})
}

func membersAreForgotten(t *testing.T, open func() (*locker.Base, *driver)) {
	holder, _ := open()
	other, d := open()
	for i := range 20 {
		name := "{x}" + strings.Repeat("{}", i) // all in one slot, and none called like its channel there
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
	s := d.session(t, "")
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		kept := len(s.members)
		s.mu.Unlock()
		if kept == 0 {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%d members are kept", kept)
		}
	}
}

// A server that does not know a script runs it later than what was sent after it: that of
// a release, perhaps, when the session is on the channel again, as another member. It is
// that one that tells those who wait, when it leaves.
func TestReleaseScriptThatComesLate(t *testing.T) {
	t.Parallel()
	l, d := openWith(t, redistest.Start(t).Client(nil).Options(), calm)
	lock, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	s := d.session(t, "n")
	earlier := newMember(s, "n", "n")
	answers := make(chan answer, 1)
	s.run(earlier.release(protocol.Ours), earlier.released(answerTo(answers)))
	if text, err := s.await(t.Context(), answers); !protocol.ReleaseCameLate(text) {
		t.Fatal(text, err)
	}
	s.mu.Lock()
	told := s.members["n"].asked.told
	s.mu.Unlock()
	if !told {
		t.Error("the one who holds the lock does not know that others may wait")
	}
	if err := lock.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A transition that the table of phases does not have ends the session: better no lock than
// two holders.
func TestPhases(t *testing.T) {
	t.Parallel()
	l, d := openWith(t, redistest.Start(t).Client(nil).Options(), calm)
	lock, err := l.Acquire(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	s := d.session(t, "n")
	s.mu.Lock()
	m := s.members["n"]
	if m.phase != held {
		t.Errorf("a lock that is held is %v", m.phase)
	}
	m.enter(standing)
	s.mu.Unlock()
	select {
	case <-lock.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the session goes on")
	}
	if err := lock.Err(); !errors.As(err, new(errPhase)) {
		t.Errorf("Err = %v", err)
	}
}
