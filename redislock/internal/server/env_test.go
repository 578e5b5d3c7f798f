package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/redislock/internal/resp"
)

// Where it was not allowed to disconnect a holder that hangs, that is said once, and tried
// again a minute later: the permission may have been granted.
func TestKillPermittedLater(t *testing.T) {
	t.Parallel()
	const denied = resp.Error("NOPERM this user has no permissions to run the 'client|kill' command")
	var log bytes.Buffer
	e := NewEnv(Options{})
	e.Log = slog.New(slog.NewTextHandler(&log, nil))
	if !e.MayKill() {
		t.Fatal("it is not tried")
	}
	for range 2 {
		e.TriedToKill(denied)
		if e.MayKill() {
			t.Error("it is tried again at once")
		}
		e.killing.deniedUntil.Add(-askAgain.Nanoseconds()) // as when the time has passed
		if !e.MayKill() {
			t.Errorf("it is not tried again after %v", askAgain)
		}
	}
	if said := strings.Count(log.String(), "cannot be disconnected"); said != 1 {
		t.Errorf("it was said %d times:\n%s", said, log.String())
	}
	e.TriedToKill(nil)
	if e.killing.deniedUntil.Load() != 0 {
		t.Error("it counts as denied")
	}
	e.killing.deniedUntil.Store(time.Now().Add(askAgain).UnixNano())
	e.TriedToKill(resp.Error("LOADING Redis is loading the dataset in memory"))
	if e.MayKill() {
		t.Error("an error that says nothing of permissions counts as one")
	}
}
