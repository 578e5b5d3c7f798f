package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/filelock"
	"github.com/golocker/locker/redislock"
)

// The name of the lock. On Redis, other processes that use it take part.
const lockName = "locker-example-workers"

// The only argument of a worker.
const workerArgument = "worker"

func isWorker() bool { return len(os.Args) == 2 && os.Args[1] == workerArgument }

// A job is what a worker is given, as JSON on its stdin.
type job struct {
	Worker     int
	Dir        string
	Redis      string
	Unsafe     bool
	Increments int
	Pause      time.Duration
	HangAt     int // the first to find this number under the lock hangs until it is killed
}

// A report is what a worker tells, as JSON on its stdout.
type report struct {
	Event  string
	Worker int
	PID    int
	Token  uint64 // of the lock; 0: there is none
	Number int    // with eventMade: what was written
}

const (
	eventReady = "ready" // for its job
	eventHolds = "holds" // the lock
	eventHangs = "hangs" // while it holds the lock
	eventMade  = "made"  // an increment
)

// work is what a worker does.
func work(stdin io.Reader, stdout io.Writer) error {
	w := worker{out: json.NewEncoder(stdout)}
	if err := w.report(report{Event: eventReady}); err != nil {
		return err
	}
	if err := json.NewDecoder(stdin).Decode(&w.job); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel(errors.New("the process that started it has ended"))
	}()
	if w.Unsafe {
		for range w.Increments {
			if err := w.increment(ctx, 0); err != nil {
				return err
			}
		}
		return nil
	}

	locks, closeLocks, err := openLocks(w.job)
	if err != nil {
		return err
	}
	defer closeLocks()
	for range w.Increments {
		err := locker.Do(ctx, locks, lockName, func(ctx context.Context, lock locker.Lock) error {
			if err := w.report(report{Event: eventHolds, Token: lock.Token()}); err != nil {
				return err
			}
			return w.increment(ctx, lock.Token())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// openLocks is all that differs between the backends.
func openLocks(j job) (locks locker.Locker, closeLocks func() error, err error) {
	patient := locker.WithTimeout(locker.NoTimeout) // wait until ctx ends
	if j.Redis == "" {
		l, err := filelock.New(lockDir(j.Dir), patient)
		if err != nil {
			return nil, nil, err
		}
		return l, l.Close, nil
	}
	o, err := parseRedisURL(j.Redis)
	if err != nil {
		return nil, nil, err
	}
	client := redis.NewClient(o)
	l, err := redislock.New(client, nil, patient)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return l, func() error { return errors.Join(l.Close(), client.Close()) }, nil
}

func lockDir(dir string) string { return filepath.Join(dir, "locks") }

// parseRedisURL does not say what is wrong with a URL: the reason may quote the
// password.
func parseRedisURL(url string) (*redis.Options, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("not a valid Redis URL: want redis://user:password@host:port/database")
	}
	return o, nil
}

// describe says where the locks of a run are.
func describe(s settings, dir string) (string, error) {
	switch {
	case s.unsafe && s.redis != "":
		return "", errors.New("-unsafe takes no lock, and -redis says where to keep it: give one of them")
	case s.unsafe:
		return "without a lock", nil
	case s.redis == "":
		return "under a lock that is a file in " + lockDir(dir), nil
	}
	o, err := parseRedisURL(s.redis)
	if err != nil {
		return "", err
	}
	return "under a lock in the Redis at " + o.Addr, nil
}

type worker struct {
	job
	out *json.Encoder
}

// report writes one line, which arrives as a whole or not at all.
func (w *worker) report(r report) error {
	r.Worker, r.PID = w.Worker, os.Getpid()
	return w.out.Encode(r)
}

// increment raises the number as one must not without a lock: it reads, takes its
// time and writes. It reports the increment before the lock is released; a worker
// killed before that has written nothing, as it is only killed when it hangs.
func (w *worker) increment(ctx context.Context, token uint64) error {
	file := numberFile(w.Dir)
	n, err := readNumber(file)
	if err != nil {
		return err
	}
	if token != 0 && n == w.HangAt && w.first() {
		if err := w.report(report{Event: eventHangs, Token: token}); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	select {
	case <-time.After(w.Pause):
	case <-ctx.Done(): // the lock is lost, or the parent has ended
		return context.Cause(ctx)
	}
	if err := writeNumber(file, n+1); err != nil {
		return err
	}
	return w.report(report{Event: eventMade, Token: token, Number: n + 1})
}

// first reports whether no other worker has hung before.
func (w *worker) first() bool { return os.Mkdir(filepath.Join(w.Dir, "hung"), 0o700) == nil }

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// writeNumber writes in place and at a fixed width, so that workers without a
// lock lose increments, not digits.
func writeNumber(file string, n int) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%10d\n", n)
	return errors.Join(err, f.Close())
}
