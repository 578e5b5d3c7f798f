package filelock

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// BenchmarkUncontended compares with the lock alone: gofrs/flock has no token
// and does not notice that a file was replaced.
func BenchmarkUncontended(b *testing.B) {
	dir := b.TempDir()
	b.Run("filelock", func(b *testing.B) {
		ctx := context.Background()
		l, err := New(dir)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		b.ReportAllocs()
		for b.Loop() {
			lock, err := l.Acquire(ctx, "name")
			if err != nil {
				b.Fatal(err)
			}
			if err := lock.Release(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gofrs", func(b *testing.B) {
		path := filepath.Join(dir, "name")
		b.ReportAllocs()
		for b.Loop() {
			f := flock.New(path)
			if ok, err := f.TryLock(); !ok || err != nil {
				b.Fatal(ok, err)
			}
			if err := f.Unlock(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandOver measures the time from the release of one Locker until a
// waiter of another holds.
func BenchmarkHandOver(b *testing.B) {
	dir := b.TempDir()
	holder, _ := open(b, dir)
	l, d := open(b, dir, wokenOnly())
	var total time.Duration
	for b.Loop() {
		lock := acquire(b, holder, "name")
		waiter := acquireLater(b, l, d, "name")
		start := time.Now()
		release(b, lock)
		lock = await(b, waiter)
		total += time.Since(start)
		release(b, lock)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us/handover")
}

// BenchmarkTakeover measures the time from the SIGKILL of a holder until a waiter
// holds.
func BenchmarkTakeover(b *testing.B) {
	dir := b.TempDir()
	l, d := open(b, dir, wokenOnly())
	var total, longest time.Duration
	for b.Loop() {
		child, _, _ := startChild(b, "hold", dir)
		waiter := acquireLater(b, l, d, "name")
		start := time.Now()
		if err := child.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		lock := await(b, waiter)
		took := time.Since(start)
		total, longest = total+took, max(longest, took)
		release(b, lock)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us/takeover")
	b.ReportMetric(float64(longest.Microseconds()), "us/longest")
}
