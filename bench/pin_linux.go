package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// processors returns those that this process may run on, if it can choose among them.
func processors() []int {
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil {
		return nil
	}
	var all []int
	for cpu := 0; len(all) < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}

// pin keeps a process on one processor, until the function that it returns is called.
func pin(pid, cpu int) (unpin func() error, err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &before); err != nil {
		return nil, fmt.Errorf("sched_getaffinity of process %d: %w", pid, err)
	}
	one.Set(cpu)
	unpin = func() error { return setAffinity(pid, &before) }
	if err := setAffinity(pid, &one); err != nil {
		return nil, errors.Join(err, unpin())
	}
	return unpin, nil
}

// setAffinity sets on which processors the threads of a process may run. A new thread
// has what the one has that starts it; so it is done when there is none but those that
// were there before.
func setAffinity(pid int, to *unix.CPUSet) error {
	done := map[string]bool{}
	for {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil {
			return err
		}
		before := len(done)
		for _, thread := range threads {
			if done[thread] {
				continue
			}
			done[thread] = true
			tid, err := strconv.Atoi(filepath.Base(thread))
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, to); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("sched_setaffinity of thread %d: %w", tid, err)
			}
		}
		if len(done) == before {
			return nil
		}
	}
}
