// Workers starts processes that raise a number in a file, one at a time because
// they hold a lock, kills one of them with SIGKILL while it holds the lock, and
// counts what was lost.
//
//	go run ./examples/workers
//	go run ./examples/workers -unsafe
//	go run ./examples/workers -redis redis://localhost:6379/0
//
// The locks are files in a temporary directory, or in Redis. With -unsafe there
// is no lock, nobody is killed, and increments are lost. What a program that uses
// a lock looks like is in worker.go; this file is about starting the processes,
// killing one and keeping the accounts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if isWorker() {
		signal.Ignore(os.Interrupt) // ctrl-C is the parent's business, which ends us
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "workers:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	flag.IntVar(&s.workers, "workers", 4, "how many processes to start, at least 2")
	flag.IntVar(&s.increments, "increments", 10, "how often each of them raises the number")
	flag.DurationVar(&s.pause, "pause", 50*time.Millisecond, "how long they take between reading the number and writing it")
	flag.StringVar(&s.redis, "redis", "", "keep the lock in the Redis at this `URL`, instead of in files")
	flag.BoolVar(&s.unsafe, "unsafe", false, "work without a lock")
	flag.Parse()
	if flag.NArg() > 0 || s.workers < 2 || s.increments < 1 || s.pause < 0 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a, err := run(ctx, os.Stdout, s)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	case a.lost() != 0 && !s.unsafe:
		os.Exit(1)
	}
}

type settings struct {
	workers    int
	increments int
	pause      time.Duration
	redis      string // a URL; empty: files
	unsafe     bool
}

// Accounts are what a run has come to.
type accounts struct {
	made     int           // increments that a worker has reported
	number   int           // in the file, at the end
	killed   int           // the worker that was killed; 0: none
	takeOver time.Duration // from the kill until the next worker held the lock; 0: none did
}

func (a accounts) lost() int { return a.made - a.number }

// A process is a worker.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	killed atomic.Bool // by us, on purpose
}

// run starts the workers, prints what they report, and returns when all have
// ended. When ctx ends, or one of them fails, it kills them.
func run(ctx context.Context, out io.Writer, s settings) (accounts, error) {
	dir, err := os.MkdirTemp("", "locker-workers-")
	if err != nil {
		return accounts{}, err
	}
	defer os.RemoveAll(dir)
	if err := writeNumber(numberFile(dir), 0); err != nil {
		return accounts{}, err
	}
	place, err := describe(s, dir)
	if err != nil {
		return accounts{}, err
	}
	fmt.Fprintf(out, "%d workers raise a number %d times each, %s\n", s.workers, s.increments, place)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The workers share one pipe for their reports. A worker reports before it
	// releases the lock, so the reports are in the order of the holds.
	reports, stdout, err := os.Pipe()
	if err != nil {
		return accounts{}, err
	}
	defer reports.Close()
	var ended sync.WaitGroup
	processes := startAll(ctx, cancel, &ended, s.workers, stdout)
	stdout.Close() // ours: the pipe ends when the last worker has ended
	a, err := follow(out, reports, processes, jobs(s, dir))
	if err != nil {
		cancel(err)
	}
	ended.Wait()
	if ctx.Err() != nil {
		fmt.Fprintln(out)
		return a, context.Cause(ctx)
	}
	if a.number, err = readNumber(numberFile(dir)); err != nil {
		return a, err
	}
	fmt.Fprintf(out, "increments made: %d, number in the file: %d, lost: %d\n", a.made, a.number, a.lost())
	return a, nil
}

// jobs returns what the workers are to do. The one that hangs does so while the
// others have work left.
func jobs(s settings, dir string) []job {
	jobs := make([]job, s.workers)
	for i := range jobs {
		jobs[i] = job{Worker: i + 1, Dir: dir, Redis: s.redis, Unsafe: s.unsafe, Increments: s.increments, Pause: s.pause, HangAt: s.increments / 2}
	}
	return jobs
}

// startAll starts n workers. If one does not start, or fails, it cancels ctx.
func startAll(ctx context.Context, cancel context.CancelCauseFunc, ended *sync.WaitGroup, n int, stdout *os.File) []*process {
	processes := make([]*process, n)
	for i := range processes {
		p, err := start(ctx, stdout)
		if err != nil {
			cancel(err)
			break
		}
		processes[i] = p
		ended.Go(func() {
			if err := p.cmd.Wait(); err != nil && !p.killed.Load() {
				cancel(fmt.Errorf("worker %d: %w", i+1, err))
			}
		})
	}
	return processes
}

// start starts this program once more, as a worker. It ends when its stdin does,
// so that no worker outlives us, however we end.
func start(ctx context.Context, stdout *os.File) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, workerArgument)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &process{cmd: cmd, stdin: stdin}, cmd.Start()
}

// follow gives the workers their jobs when all are ready, and prints what they
// report until all have ended. It kills the one that says that it hangs.
func follow(out io.Writer, reports io.Reader, processes []*process, jobs []job) (a accounts, err error) {
	began := time.Now()
	ready := 0
	var killed time.Time
	for d := json.NewDecoder(reports); ; {
		var r report
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return a, nil
		} else if err != nil {
			return a, err
		}
		who := fmt.Sprintf("%6.2f s  worker %d (pid %d)", time.Since(began).Seconds(), r.Worker, r.PID)
		switch r.Event {
		case eventReady:
			if ready++; ready < len(processes) {
				break
			}
			began = time.Now()
			for i, p := range processes {
				if err := json.NewEncoder(p.stdin).Encode(jobs[i]); err != nil {
					return a, err
				}
			}
		case eventHolds:
			fmt.Fprintf(out, "%s holds the lock, token %d", who, r.Token)
			if a.killed != 0 && a.takeOver == 0 {
				a.takeOver = time.Since(killed)
				fmt.Fprintf(out, ", %.1f ms after the kill", float64(a.takeOver.Microseconds())/1000)
			}
		case eventHangs:
			fmt.Fprintf(out, ": killed with SIGKILL\n")
			p := processes[r.Worker-1]
			p.killed.Store(true)
			a.killed, killed = r.Worker, time.Now()
			if err := p.cmd.Process.Kill(); err != nil {
				return a, err
			}
		case eventMade:
			a.made++
			if r.Token == 0 {
				fmt.Fprint(out, who)
			}
			fmt.Fprintf(out, ": %d -> %d\n", r.Number-1, r.Number)
		}
	}
}

func numberFile(dir string) string { return filepath.Join(dir, "number") }
