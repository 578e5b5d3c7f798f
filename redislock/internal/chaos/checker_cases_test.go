//go:build linux

package chaos

import (
	"slices"
	"testing"
	"time"
)

// What the checker says of histories that are made up.
func TestChecker(t *testing.T) {
	const lease = 100
	// A hold of process p: its Acquire lasts from called to granted, and it ended
	// between from and until.
	hold := func(p, number int, token uint64, called, granted, from, until int64) []event {
		e := event{Kind: acquired, Process: p, Hold: number, Name: "n", Token: token, From: called, Until: granted}
		end := e
		end.Kind, end.From, end.Until = ended, from, until
		return []event{e, end}
	}
	for _, tt := range []struct {
		name   string
		events [][]event
		want   []breach
	}{
		{"one after the other", [][]event{hold(1, 1, 5, 0, 10, 20, 30), hold(2, 1, 6, 5, 31, 40, 41)}, nil},
		{"granted while the other one is releasing", [][]event{hold(1, 1, 5, 0, 10, 20, 30), hold(2, 1, 6, 5, 21, 40, 41)}, nil},
		{"granted between the last look and the loss", [][]event{hold(1, 1, 5, 0, 10, 20, 90), hold(2, 1, 6, 5, 21, 40, 41)}, nil},
		{"granted before the last look", [][]event{hold(1, 1, 5, 0, 10, 20, 90), hold(2, 1, 6, 5, 19, 40, 41)}, []breach{overlap}},
		{"granted before the last look of one before the last", [][]event{
			hold(1, 1, 5, 0, 10, 50, 90), hold(2, 1, 6, 5, 95, 40, 96), hold(3, 1, 7, 5, 45, 97, 98)}, []breach{overlap}},
		{"lost before it was returned", [][]event{hold(1, 1, 5, 0, 60, 0, 61), hold(2, 1, 6, 5, 19, 40, 41)}, nil},
		{"a token twice", [][]event{hold(1, 1, 5, 0, 10, 20, 30), hold(2, 1, 5, 5, 31, 40, 41)}, []breach{disorder}},
		{"a smaller token later", [][]event{hold(1, 1, 5, 0, 10, 20, 30), hold(2, 1, 4, 31, 32, 40, 41)}, []breach{disorder}},
		{"a smaller token that may have been earlier", [][]event{hold(1, 1, 5, 0, 10, 20, 30), hold(2, 1, 4, 0, 32, 0, 33)}, nil},
		{"a hold that goes on for ever", [][]event{hold(1, 1, 5, 0, 10, 20, 30)[:1]}, []breach{unfinished}},
		{"a hold that ends with its process", [][]event{hold(1, 1, 5, 0, 10, 0, 0)[:1], {{Kind: crashed, Process: 1, From: 15, Until: 20}}, hold(2, 1, 6, 18, 19, 30, 31)}, nil},
		{"frozen, and it knows", [][]event{hold(1, 1, 5, 0, 10, 20, 130), {{Kind: stopped, Process: 1, From: 21, Until: 125}}}, nil},
		{"frozen, and it does not know", [][]event{hold(1, 1, 5, 0, 10, 126, 130), {{Kind: stopped, Process: 1, From: 21, Until: 125}}}, []breach{unnoticed}},
		{"frozen for a moment", [][]event{hold(1, 1, 5, 0, 10, 80, 130), {{Kind: stopped, Process: 1, From: 21, Until: 70}}}, nil},
		{"something else", [][]event{{{Kind: wrong, Process: 1}}}, []breach{misbehaved}},
		{"a call that took too long", [][]event{{{Kind: late, Process: 1, From: 10, Until: 20}}}, []breach{misbehaved}},
		{"a call of a process that was stopped", [][]event{{{Kind: late, Process: 1, From: 10, Until: 20}}, {{Kind: stopped, Process: 1, From: 15, Until: 16}}}, nil},
	} {
		var h history
		for _, events := range tt.events {
			for _, e := range events {
				h.add(e)
			}
		}
		var got []breach
		for _, p := range h.check(lease) {
			got = append(got, p.what)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A wait on a lock that is free is found, however it ends; one on a lock that is
// held is none.
func TestStalls(t *testing.T) {
	at := func(k kind, number int, from, until time.Duration) event {
		return event{Kind: k, Process: 1, Hold: number, Name: "n", Token: uint64(number), From: int64(from), Until: int64(until)}
	}
	const s = time.Second
	var h history
	for _, e := range []event{
		at(acquired, 1, 0, 1*s), at(ended, 1, 4*s, 5*s), // held for 4 s
		at(acquired, 2, 0, 7*s), at(ended, 2, 8*s, 8*s), // which was free for 2 s then, and waited for
		at(refused, 0, 6*s, 12*s), // 4 s of which it was free
	} {
		h.add(e)
	}
	for _, tt := range []struct {
		since, until, longest time.Duration
		stalls                int
	}{
		{0, 20 * s, 4 * s, 2},
		{0, 8 * s, 2 * s, 1},
		{9 * s, 20 * s, 3 * s, 1},
		{6 * s, 9 * s, 1 * s, 0},
	} {
		problems, longest := h.stalls(int64(tt.since), int64(tt.until), 1500*time.Millisecond)
		if len(problems) != tt.stalls || longest != tt.longest {
			t.Errorf("between %v and %v: %d stalls, the longest for %v; want %d, %v", tt.since, tt.until, len(problems), longest, tt.stalls, tt.longest)
		}
	}
}

// A seed stands for its faults.
func TestPlan(t *testing.T) {
	routes := []routing{{}, {proxied: true}, {child: true, proxied: true}, {child: true, plugged: true}}
	for seed := range uint64(20) {
		a, b := plan(seed, 10*time.Second, time.Second, time.Second, routes), plan(seed, 10*time.Second, time.Second, time.Second, routes)
		if !slices.EqualFunc(a, b, func(a, b step) bool { return a.String() == b.String() }) {
			t.Errorf("seed %d: two plans", seed)
		}
	}
}
