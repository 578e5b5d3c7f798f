// Package chaos tests redislock with many Lockers, in this process and in others,
// on a real Redis, while processes are stopped and killed, connections are closed,
// the network is cut, and the server is restarted and forgets. It has tests only,
// for Linux.
//
// Every acquire and every end of a hold is recorded, with times of the one monotonic
// clock that all processes of a machine share, and a checker decides whether that is
// the history of a lock. No clock that can be set plays a part. In the end each lock
// has to be free, and nothing may be left.
//
//	go test ./redislock/internal/chaos                                     # 3 s, and a protocol that is broken
//	go test ./redislock/internal/chaos -chaos.for=10m -timeout 15m -v      # for longer
//	go test ./redislock/internal/chaos -run 'TestChaos$' -chaos.seed=42 -v # the faults of a seed again
//
// A seed stands for what is made of it: the load and the faults, and their order.
// When the processor runs which goroutine it does not decide; a failure may take a
// few runs of its seed (-count) to come again.
package chaos
