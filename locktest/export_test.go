package locktest

import (
	"testing"
	"time"
)

// RunImpatiently is Run with another patience, for Lockers of which it is known
// that they will try it.
func RunImpatiently(t *testing.T, h Harness, patience time.Duration) {
	t.Helper()
	newSuite(t, h, patience).run(t)
}
