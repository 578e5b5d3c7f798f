package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"
)

// descendants returns the processes that a process has started, directly or not.
func descendants(pid int) (all []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, _ := os.ReadDir(dir) // none if it has just ended
	for _, t := range tasks {
		children, _ := os.ReadFile(dir + "/" + t.Name() + "/children")
		for _, field := range bytes.Fields(children) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				all = append(all, child)
				all = append(all, descendants(child)...)
			}
		}
	}
	return all
}

// ofRun returns the processes that have the cookie of a run in their environment.
func ofRun(cookie string) (pids []int) {
	for _, pid := range processes() {
		if hasCookie(pid, cookie) {
			pids = append(pids, pid)
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
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasCookie reports whether a process belongs to the run of a cookie.
func hasCookie(pid int, cookie string) bool {
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // it has ended, or is another user's
	}
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if runs, ok := bytes.CutPrefix(v, []byte(envRun+"=")); ok {
			return slices.ContainsFunc(bytes.Split(runs, []byte(":")), func(run []byte) bool { return string(run) == cookie })
		}
	}
	return false
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
			if hasCookie(pid, cookie) {
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
