package main

import (
	"context"
	"slices"
	"time"
)

// fileWorkloads are about the processes of one machine.
func fileWorkloads() []workload {
	files := func() []contender { return of(inFiles) }
	return slices.Concat(
		[]workload{{
			name:       "file/free lock",
			about:      "One goroutine acquires a lock that nobody else wants, and releases it. This library keeps a token in the file, too.",
			contenders: files,
			measure: func(ctx context.Context, l *lab, c contender, p places) (*measured, error) {
				return free(ctx, c, p, 1, 0, pick(l, time.Second, 100*time.Millisecond))
			},
		}},
		handOffWorkloads("file", inFiles),
		takeOverWorkloads("file", inFiles),
	)
}
