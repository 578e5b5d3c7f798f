package locktest_test

import (
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/locktest"
)

// A backend whose locks are files in a directory has this in a test.
func ExampleRun() {
	_ = func(t *testing.T) { // TestConformance
		locktest.Run(t, locktest.Harness{
			New: func(t testing.TB) string {
				return t.TempDir()
			},
			Open: func(t testing.TB, addr string, opts ...locker.Option) locker.Locker {
				return openThirdParty(addr, opts...)
			},
			CrossProcess: true,
		})
	}
}
