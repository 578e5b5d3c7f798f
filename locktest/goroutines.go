package locktest

import (
	"runtime"
	"strings"
)

// goroutines returns the stacks of all goroutines but the caller's, by their id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	_, others, _ := strings.Cut(string(buf), "\n\n") // the caller's comes first
	for stack := range strings.SplitSeq(others, "\n\n") {
		if id, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " "); ok {
			all[id] = stack
		}
	}
	return all
}
