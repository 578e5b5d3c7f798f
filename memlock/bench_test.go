package memlock

import (
	"context"
	"testing"

	"github.com/golocker/locker"
)

// BenchmarkPair is an uncontended acquire and release: without a Trace, which then is to
// cost nothing, and with one that is told of nothing.
func BenchmarkPair(b *testing.B) {
	for name, opts := range map[string][]locker.Option{"Plain": nil, "Trace": {locker.WithTrace(&locker.Trace{})}} {
		b.Run(name, func(b *testing.B) {
			l := New(opts...)
			ctx := context.Background()
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
	}
}
