package main

import (
	"context"
	"testing"

	moby "github.com/moby/locker"

	"github.com/golocker/locker/memlock"
)

// BenchmarkMemory acquires and releases a free lock in memory. moby/locker has no
// ctx, no timeout, no handle and no token.
func BenchmarkMemory(b *testing.B) {
	b.Run("memlock", func(b *testing.B) {
		ctx := context.Background()
		l := memlock.New()
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
	b.Run("moby", func(b *testing.B) {
		l := moby.New()
		b.ReportAllocs()
		for b.Loop() {
			l.Lock("name")
			if err := l.Unlock("name"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
