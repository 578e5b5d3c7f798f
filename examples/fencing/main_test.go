package main

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/golocker/locker/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestStaleHolderIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not let an open file be deleted")
	}
	var out strings.Builder
	if err := run(t.Context(), &out, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"the first holder writes: stale fencing token",
		"the store has the value of the second holder",
		"had the first holder looked: lock lost",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is not in:\n%s", line, out.String())
		}
	}
}

func TestStore(t *testing.T) {
	var s Store
	for _, write := range []struct {
		token   uint64
		value   string
		refused bool
	}{
		{2, "a", false},
		{2, "b", false}, // a holder may write often
		{3, "c", false},
		{2, "d", true},
	} {
		if err := s.Write(write.token, write.value); errors.Is(err, ErrStaleToken) != write.refused {
			t.Errorf("Write(%d): %v; want refused: %v", write.token, err, write.refused)
		}
	}
	if s.Read() != "c" {
		t.Errorf("Read: %q; want c", s.Read())
	}
}

func TestArguments(t *testing.T) { programtest.RefusesArguments(t) }
