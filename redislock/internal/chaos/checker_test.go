//go:build linux

package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// A problem is something that must not happen, and did.
type problem struct {
	what breach
	text string
}

type breach string

const (
	overlap    breach = "two held a lock at a time"
	disorder   breach = "a token is not greater than the one before"
	undecided  breach = "the checker found no answer in time"
	unnoticed  breach = "a process that was frozen for longer than its lease took a lock for held"
	unfinished breach = "a hold has no end"
	notFree    breach = "a lock is not free after all have left it"
	stalled    breach = "somebody waited on a free lock"
	leaked     breach = "something was left behind"
	misbehaved breach = "a call did what it must not"
)

// check decides whether a history is one of a lock. lease is how long a holder may
// go on that hears nothing.
func (h *history) check(lease time.Duration) []problem {
	holds, problems := h.holds()
	for _, e := range h.all() {
		if e.Kind == wrong {
			problems = append(problems, problem{misbehaved, h.describe(e)})
		}
	}
	problems = append(problems, h.lates()...)
	problems = append(problems, h.frozen(holds, lease)...)
	byName := make(map[string][]held)
	for _, hd := range holds {
		byName[hd.Name] = append(byName[hd.Name], hd)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		switch porcupine.CheckOperationsTimeout(lockModel, operations(byName[name]), time.Minute) {
		case porcupine.Ok:
		case porcupine.Unknown:
			problems = append(problems, problem{undecided, fmt.Sprintf("lock %q: %d holds", name, len(byName[name]))})
		default:
			problems = append(problems, h.explain(name, byName[name])...)
		}
	}
	return problems
}

// A lock is held by the one who has its last token, or free. An operation on it is
// the beginning of a hold or its end, by release or by loss; and as the end of a
// lost hold is somewhere between the last Err that was nil and the first that was
// not, there is no order of the operations that fits where somebody was granted
// the lock before that last Err.
type lockState struct {
	isHeld bool
	token  uint64 // the last one
}

type lockOperation struct {
	begins bool
	token  uint64
}

var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, op := state.(lockState), input.(lockOperation)
		if op.begins {
			return !s.isHeld && op.token > s.token, lockState{true, op.token}
		}
		return s.isHeld && op.token == s.token, lockState{false, s.token}
	},
}

// operations are the operations of one lock.
func operations(holds []held) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, hd := range holds {
		ops = append(ops,
			porcupine.Operation{ClientId: hd.Process, Input: lockOperation{true, hd.Token}, Call: hd.From, Return: hd.Until},
			porcupine.Operation{ClientId: hd.Process, Input: lockOperation{false, hd.Token}, Call: hd.end.From, Return: hd.end.Until})
	}
	return ops
}

// frozen finds the holds of stopped processes that outlived their lease: such a
// process must know by the first Err after it wakes, whether somebody else has been
// granted the lock or not.
func (h *history) frozen(holds []held, lease time.Duration) []problem {
	var problems []problem
	for _, stop := range h.all() {
		if stop.Kind != stopped || stop.Until-stop.From < int64(lease) {
			continue
		}
		for _, hd := range holds {
			if hd.Process == stop.Process && hd.Until < stop.From && hd.end.Kind == ended && hd.end.From > stop.Until {
				problems = append(problems, problem{unnoticed, fmt.Sprintf("%s\n\t%s\n\t%s",
					h.describe(stop), h.describe(hd.event), h.describe(hd.end))})
			}
		}
	}
	return problems
}

// lates finds the calls that took too long, of processes that were not stopped.
func (h *history) lates() []problem {
	var problems []problem
	events := h.all()
	for _, e := range events {
		if e.Kind == late && !slices.ContainsFunc(events, func(stop event) bool {
			return stop.Kind == stopped && stop.Process == e.Process && stop.From < e.Until && e.From < stop.Until
		}) {
			problems = append(problems, problem{misbehaved, h.describe(e) + h.around(e.Name, e.From, e.Until)})
		}
	}
	return problems
}

// explain says why the holds of a lock are not those of a lock. As the tokens give
// the order, two holds are enough to show it.
func (h *history) explain(name string, holds []held) []problem {
	slices.SortStableFunc(holds, func(a, b held) int { return cmp.Compare(a.Token, b.Token) })
	first := make(map[breach]string)
	pairs := 0
	for i, a := range holds {
		for _, b := range holds[i+1:] {
			var what breach
			switch {
			case a.Token == b.Token || b.end.Until < a.From:
				what = disorder
			case a.end.From > b.Until:
				what = overlap
			default:
				continue
			}
			pairs++
			if first[what] == "" {
				first[what] = fmt.Sprintf("\n\t%s\n\t%s\n\t%s\n\t%s\nand what happened around it:%s",
					h.describe(a.event), h.describe(a.end), h.describe(b.event), h.describe(b.end),
					h.around(name, min(a.Until, b.Until), max(a.end.From, b.end.From)))
			}
		}
	}
	if pairs == 0 {
		first[overlap] = "there is no order of its holds that fits"
	}
	var problems []problem
	for what, text := range first {
		problems = append(problems, problem{what, fmt.Sprintf("lock %q, %d of the pairs of its %d holds: %s", name, pairs, len(holds), text)})
	}
	return problems
}
