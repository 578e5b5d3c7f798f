//go:build linux

package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/golocker/locker/internal/redistest"
)

var (
	chaosFor  = flag.Duration("chaos.for", 3*time.Second, "how long faults are made")
	chaosSeed = flag.Uint64("chaos.seed", 0, "the seed of the first trial; 0: a random one")
)

func TestMain(m *testing.M) {
	if value, ok := os.LookupEnv(childVariable); ok {
		os.Exit(serve(value))
	}
	goleak.VerifyTestMain(m)
}

// longestTrial bounds a trial: what it did is checked at its end, and it is to be
// replayed if it fails.
const longestTrial = 10 * time.Second

// Whatever happens to processes, to the network and to the server, no two hold a
// lock at a time, tokens grow, and nothing is left in the end: no lock that is not
// free, and no goroutine, connection or key.
func TestChaos(t *testing.T) {
	redistest.Require(t, "redis-server")
	if why := namespacesMissing(); why != "" {
		t.Log("there is no cable to put out:", why)
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1e9) + 1
	}
	for left := *chaosFor; left > 0; left -= longestTrial {
		lasts := min(left, longestTrial)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tr := newTrial(t, seed, draw(seed))
			faultsLast := lasts
			if lasts > 2*restLasts {
				faultsLast -= restLasts
			}
			tr.strike(tr.plan(faultsLast))
			var stalls []problem
			if lasts > faultsLast {
				since, until := tr.rest()
				var longest time.Duration
				stalls, longest = tr.history.stalls(since, until, recovery)
				t.Logf("in the rest, nobody waited on a free lock for longer than %v", longest)
			}
			tr.failFor(append(stalls, tr.finish()...))
			if t.Failed() {
				t.Logf("again: go test ./redislock/internal/chaos -run 'TestChaos$' -v -count=10 -chaos.seed=%d -chaos.for=%v", seed, lasts)
			}
		})
		seed++
	}
}

// A cable that is put out ends no connection, at neither end, until it is in again.
func TestCableOut(t *testing.T) {
	requireNamespaces(t)
	redistest.Require(t, "redis-server")
	m := draw(1)
	m.unavailable = 400 * time.Millisecond
	tr := newTrial(t, 1, m)
	var steps []step
	at := 500 * time.Millisecond
	for _, ours := range []bool{true, false} {
		out := blow{What: unplug, Route: routeNamespace, Ours: ours, For: 2 * tr.unavailable}
		steps = append(steps, step{at, out, false}, step{at + out.For, out, true})
		at += out.For + tr.unavailable
	}
	tr.strike(steps)
	tr.failFor(tr.finish())
}
