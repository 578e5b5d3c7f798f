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
		want     breach
	}{
		{
			"whoever is next wins, others or not",
			"if on_lock == 1 and not ahead then",
			"if on_lock >= 1 and not ahead then",
			overlap,
		}, {
			"tokens do not grow",
			"local token = math.max(now, tonumber(values[1] or 0) + 1, tonumber(values[5] or 0) + 1)",
			"local token = 1",
			disorder,
		}, {
			"nobody wins",
			"if on_lock == 1 and not ahead then",
			"if on_lock == 0 and not ahead then",
			notFree,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if pad := len(tt.old) - len(tt.new); pad > 0 {
				tt.new += strings.Repeat(" ", pad)
			}
			m := draw(1)
			m.longest, m.unavailable, m.broken = 300*time.Millisecond, time.Second, []edit{{tt.old, tt.new}}
			tr := newTrial(t, 1, m)
			tr.strike([]step{{at: time.Second, blow: blow{What: flushScript}}})
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
