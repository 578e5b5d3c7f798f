package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// descendants returns the processes that a process has started, directly or not.
func descendants(pid int) (all []int) {
	for _, child := range children(pid) {
		all = append(append(all, child), descendants(child)...)
	}
	return all
}

// children returns the children of a process: none if it has just ended.
func children(pid int) (pids []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, _ := os.ReadDir(dir)
	for _, t := range tasks {
		list, _ := os.ReadFile(dir + "/" + t.Name() + "/children") //nolint:gosec // the kernel names it
		for _, field := range bytes.Fields(list) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// processes returns all processes but this one.
func processes() (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runsOf returns the cookies of the runs that a process belongs to: none if it has
// ended, or is another user's.
func runsOf(pid int) (cookies []string) {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if runs, ok := bytes.CutPrefix(v, []byte(envRun+"=")); ok {
			return strings.Split(string(runs), ":")
		}
	}
	return nil
}

// killRun kills the processes of a run, until there are none.
func killRun(cookie string) {
	const (
		limit = 5 * time.Second
		calm  = 2 // scans that find nothing: one process may have started another during the first
	)
	began := time.Now()
	for empty := 0; empty < calm && time.Since(began) < limit; empty++ {
		for _, pid := range processes() {
			// The process is looked up before it is looked at, so that no other one of
			// the same number is killed.
			p, err := os.FindProcess(pid)
			if err != nil {
				continue
			}
			if slices.Contains(runsOf(pid), cookie) {
				empty = -1
				_ = p.Kill() // unless it has just ended
			}
			_ = p.Release()
		}
		if empty < 0 {
			time.Sleep(time.Millisecond)
		}
	}
}
