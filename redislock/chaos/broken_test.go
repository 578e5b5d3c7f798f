//go:build linux

package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/internal/redistest"
)

// A protocol that is broken in one line is caught.
func TestBrokenProtocol(t *testing.T) {
	redistest.Require(t, "redis-server")
	for _, tt := range []struct {
		name     string
		old, new string
		steps    []step
		want     breach
	}{
		{
			"whoever is next wins, others or not",
			"if on_lock == 1 and not ahead then",
			"if on_lock >= 1 and not ahead then",
			nil, overlap,
		}, {
			"tokens do not grow",
			"local token, before = now, tonumber(values[1])",
			"local token, before = 1, nil",
			nil, disorder,
		}, {
			"nobody waits for those who have not heard",
			"return math.max(debt, now + (last_run == run and settle or settle_long))",
			"return debt",
			frozenRestarts(), overlap,
		}, {
			"nobody wins",
			"if on_lock == 1 and not ahead then",
			"if on_lock == 0 and not ahead then",
			nil, notFree,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if pad := len(tt.old) - len(tt.new); pad > 0 {
				tt.new += strings.Repeat(" ", pad)
			}
			m := draw(1)
			m.longest, m.unavailable, m.broken = 300*time.Millisecond, time.Second, []edit{{tt.old, tt.new}}
			tr := newTrial(t, 1, m)
			if tt.steps == nil {
				tt.steps = []step{{at: time.Second, blow: blow{What: flushScript}}}
			}
			tr.strike(tt.steps)
			problems := tr.finish()
			tr.summarize()
			for _, p := range problems {
				t.Logf("%s: %s", p.what, p.text)
			}
			if !slices.ContainsFunc(problems, func(p problem) bool { return p.what == tt.want }) {
				t.Errorf("not caught; want: %s (or has the line that is replaced changed?)", tt.want)
			}
		})
	}
}

// frozenRestarts restarts the server while children are stopped, for less than their
// lease.
func frozenRestarts() (steps []step) {
	const at, every, frozen = 700 * time.Millisecond, 1500 * time.Millisecond, 350 * time.Millisecond
	for i := range time.Duration(3) {
		begin := at + i*every
		for r := routeChild; r < routeCount; r++ {
			stop := blow{What: stopProcess, Route: r, For: frozen}
			steps = append(steps, step{begin, stop, false}, step{begin + frozen, stop, true})
		}
		steps = append(steps, step{at: begin + 20*time.Millisecond, blow: blow{What: restart}})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	return steps
}
