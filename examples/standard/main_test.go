package main

import "testing"

func TestRun(t *testing.T) {
	t.Setenv("LOCKS_REDIS_URL", "")
	t.Setenv("LOCKS_DIR", t.TempDir())
	if err := run(t.Context()); err != nil {
		t.Error(err)
	}
}
