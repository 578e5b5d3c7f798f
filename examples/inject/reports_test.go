package main

import (
	"context"
	"errors"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/programtest"
	"github.com/golocker/locker/memlock"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestNightlyWritesUnderLock(t *testing.T) {
	locks := memlock.New()
	defer locks.Close()
	var last uint64
	written := 0
	r := &Reports{Locks: locks, Write: func(ctx context.Context, day string, token uint64) error {
		if _, err := locks.Acquire(ctx, "report-"+day, locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
			t.Errorf("while the report is written, its lock: %v; want held", err)
		}
		if token <= last {
			t.Errorf("token %d after %d", token, last)
		}
		last = token
		written++
		return nil
	}}
	for range 2 {
		if err := r.Nightly(t.Context(), "2026-01-02"); err != nil {
			t.Fatal(err)
		}
	}
	if written != 2 {
		t.Errorf("written %d times; want 2", written)
	}
}

// The test plays the other process: it takes the lock itself.
func TestNightlyLeavesReportToOther(t *testing.T) {
	locks := memlock.New()
	defer locks.Close()
	other, err := locks.Acquire(t.Context(), "report-2026-01-02")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release(t.Context())
	var days []string
	r := &Reports{Locks: locks, Write: func(_ context.Context, day string, _ uint64) error {
		days = append(days, day)
		return nil
	}}
	if err := r.Nightly(t.Context(), "2026-01-02"); !errors.Is(err, ErrInProgress) {
		t.Errorf("Nightly: %v; want ErrInProgress", err)
	}
	if err := r.Nightly(t.Context(), "2026-01-03"); err != nil {
		t.Errorf("Nightly of another day: %v", err)
	}
	if len(days) != 1 || days[0] != "2026-01-03" {
		t.Errorf("written: %q; want 2026-01-03 alone", days)
	}
}

func TestNightlyReleasesAfterError(t *testing.T) {
	locks := memlock.New()
	defer locks.Close()
	full := errors.New("disk full")
	r := &Reports{Locks: locks, Write: func(context.Context, string, uint64) error { return full }}
	for range 2 {
		if err := r.Nightly(t.Context(), "2026-01-02"); !errors.Is(err, full) {
			t.Errorf("Nightly: %v; want %v", err, full)
		}
	}
}

func TestMainProgram(t *testing.T) {
	if err := run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) { programtest.RefusesArguments(t) }
