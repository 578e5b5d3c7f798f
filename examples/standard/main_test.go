package main

import (
	"testing"

	"github.com/golocker/locker/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestRun(t *testing.T) {
	t.Setenv("LOCKS_REDIS_URL", "")
	t.Setenv("LOCKS_DIR", t.TempDir())
	if err := run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) { programtest.RefusesArguments(t) }
