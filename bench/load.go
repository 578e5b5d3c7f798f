package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// otherLoad is from how many processors that others keep busy a round is marked. The
// kernel counts in ticks of 10 ms, so that less says nothing about a short round.
const otherLoad = 0.2

// A usage is how long the processors were busy since the machine was started, and how
// long with this process and its descendants, in ticks.
type usage struct {
	at         time.Time
	busy, ours float64
	known      bool // false where there is no /proc
}

func currentUsage() usage {
	u := usage{at: time.Now()}
	busy, ok := busyTicks()
	u.busy, u.ours, u.known = busy, treeTicks(os.Getpid()), ok
	return u
}

// others returns how many processors others kept busy between two usages, and
// reports whether that is known.
func others(before, after usage) (processors float64, known bool) {
	if !before.known || !after.known {
		return 0, false
	}
	const ticksPerSecond = 100
	ticks := after.busy - before.busy - (after.ours - before.ours)
	return max(0, ticks/ticksPerSecond/after.at.Sub(before.at).Seconds()), true
}

// busyTicks is user, nice, system and steal time: without that of interrupts, which
// is for the network of the loopback, too.
func busyTicks() (ticks float64, ok bool) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, false
	}
	return number(f[1]) + number(f[2]) + number(f[3]) + number(f[8]), true
}

// treeTicks is the time of a process and its descendants, with those that have ended.
func treeTicks(root int) float64 {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	parents, ticks := map[int]int{}, map[int]float64{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		// After the name, which may contain anything: state, parent, …
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 15 {
			continue
		}
		parents[pid], _ = strconv.Atoi(f[1])
		ticks[pid] = number(f[11]) + number(f[12]) + number(f[13]) + number(f[14])
	}
	var sum float64
	for pid, n := range ticks {
		for p := pid; p > 0; p = parents[p] {
			if p == root {
				sum += n
				break
			}
		}
	}
	return sum
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}
