//go:build linux

package chaos

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// After the faults the load goes on for a rest, in which it has to recover.
const (
	restLasts = 4 * time.Second
	// recovery bounds how long somebody waits then on a lock that is free, or held by
	// one who is gone: the unavailable timeout, two check intervals and the lease of
	// those who were there before; what is left is for the machine.
	recovery = 3 * time.Second
)

// rest ends the faults but one: some clients are gone, and the server does not know.
// It returns when all has been calm since, and until.
func (tr *trial) rest() (since, until int64) {
	tr.t.Helper()
	tr.heal()
	b := blow{What: leaveLinks, Route: routeProxied + int(tr.seed%3)}
	since = now()
	tr.begin(b)
	tr.history.add(event{Kind: struck, From: since, Until: now(), Text: b.String()})
	time.Sleep(restLasts)
	return since, now()
}

// stalls finds those who waited on a free lock between two times for longer than
// bound, and returns the longest wait.
func (h *history) stalls(since, until int64, bound time.Duration) (problems []problem, longest time.Duration) {
	holds, _ := h.holds()
	events := h.all()
	slices.SortFunc(holds, func(a, b held) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Token, b.Token))
	})
	for i := range holds {
		free, taken := holds[i].end.Until, int64(math.MaxInt64) // a loss that is told counts as the end
		if i+1 < len(holds) && holds[i+1].Name == holds[i].Name {
			taken = holds[i+1].Until
		}
		for _, e := range events {
			if e.Name != holds[i].Name || e.Kind != acquired && e.Kind != refused {
				continue
			}
			waited := time.Duration(min(taken, e.Until, until) - max(free, e.From, since))
			longest = max(longest, waited)
			if waited > bound {
				problems = append(problems, problem{stalled, fmt.Sprintf("for %v:\n\t%s\nthe lock was free since\n\t%s\nand what happened around it:%s",
					waited, h.describe(e), h.describe(holds[i].end), h.around(e.Name, max(free, since), min(taken, until)))})
			}
		}
	}
	return problems, longest
}
