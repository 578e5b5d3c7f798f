package main

import (
	"context"
	"slices"
)

// A workload is something that users do with locks.
type workload struct {
	name       string
	about      string // what it means to a user
	contenders func() []contender

	// full says that it is left out with -quick.
	full bool

	// slow says that one round is enough with -quick.
	slow bool

	// together says that the contenders wait most of the time, and are measured all
	// at once.
	together bool

	// measure runs the workload once.
	measure func(ctx context.Context, l *lab, c contender, p places) (*measured, error)
}

// workloads returns all, in the order in which they run.
func workloads() []workload {
	return slices.Concat(
		freeWorkloads(),
		handOffWorkloads("redis", inRedis, inEtcd),
		herdWorkloads(),
		takeOverWorkloads("redis", inRedis, inEtcd),
		deadWaiterWorkloads(),
		noticeWorkloads(),
		costWorkloads(),
		latencyWorkloads(),
		fileWorkloads(),
		memoryWorkloads(),
	)
}

// onServers are the contenders that work across machines.
func onServers() []contender { return of(inRedis, inEtcd) }

const lockName = "nightly-report"
