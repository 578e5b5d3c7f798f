package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/internal/redistest"
)

// TestMain makes a worker of the test binary where run starts it as one.
func TestMain(m *testing.M) {
	if isWorker() {
		main()
		return
	}
	// With -race, a process takes 1 s to end unless it is told otherwise.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// small are settings for a run of about a tenth of a second.
var small = settings{workers: 4, increments: 5, pause: 5 * time.Millisecond}

func TestNothingIsLostUnderLock(t *testing.T) {
	for name, s := range map[string]settings{
		"files":                        small,
		"two workers, one increment":   {workers: 2, increments: 1},
		"many workers, without a rest": {workers: 8, increments: 20},
	} {
		t.Run(name, func(t *testing.T) { runLocked(t, s) })
	}
	t.Run("Redis", func(t *testing.T) {
		s := small
		s.redis = "redis://" + redistest.Start(t).Addr + "/0"
		runLocked(t, s)
	})
}

// runLocked checks the accounts of a run in which one worker is killed.
func runLocked(t *testing.T, s settings) {
	isCleanedUp(t)
	var out strings.Builder
	a, err := run(t.Context(), &out, s)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if a.killed == 0 || a.takeOver <= 0 {
		t.Errorf("worker %d was killed, and the next held the lock after %v; want both", a.killed, a.takeOver)
	}
	if a.lost() != 0 {
		t.Errorf("%d made, %d in the file: %d lost; want none", a.made, a.number, a.lost())
	}
	// All but the one that was killed did all of their share.
	if least, most := (s.workers-1)*s.increments, s.workers*s.increments-1; a.made < least || a.made > most {
		t.Errorf("%d increments made; want %d to %d", a.made, least, most)
	}
}

func TestIncrementsAreLostWithoutLock(t *testing.T) {
	isCleanedUp(t)
	s := small
	s.unsafe, s.increments = true, 20
	a, err := run(t.Context(), io.Discard, s)
	if err != nil {
		t.Fatal(err)
	}
	if a.made != s.workers*s.increments || a.killed != 0 {
		t.Errorf("%d made, worker %d killed; want %d and none", a.made, a.killed, s.workers*s.increments)
	}
	if a.lost() <= 0 {
		t.Errorf("%d lost; want some", a.lost())
	}
}

func TestInterrupt(t *testing.T) {
	isCleanedUp(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	interrupt := errors.New("interrupt")
	s := small
	s.pause = time.Hour
	// The first thing that is printed after the heading is who holds the lock.
	_, err := run(ctx, writerFunc(func(p []byte) {
		if strings.Contains(string(p), "holds the lock") {
			cancel(interrupt)
		}
	}), s)
	if !errors.Is(err, interrupt) {
		t.Errorf("run: %v; want %v", err, interrupt)
	}
}

func TestBadRedisURLKeepsItsPassword(t *testing.T) {
	s := small
	s.redis = "redis://:s3cr3t@localhost:port:/x"
	if _, err := run(t.Context(), io.Discard, s); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("run: %v; want an error without the password", err)
	}
}

func TestUnsafeInRedisIsRefused(t *testing.T) {
	isCleanedUp(t)
	s := small
	s.unsafe, s.redis = true, "redis://127.0.0.1:1/0"
	if _, err := run(t.Context(), io.Discard, s); err == nil || !strings.Contains(err.Error(), "-redis") {
		t.Errorf("run: %v; want an error that says that -redis is not for -unsafe", err)
	}
}

// isCleanedUp checks, at the end of the test, that it has left no files.
func isCleanedUp(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
