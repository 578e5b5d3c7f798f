package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/internal/redistest"
)

// tree is a command that has started another, and says who both are.
const tree = `sleep 1000 & echo $$ $!; wait; :`

// pids reads what tree says.
func (c *process) pids() (pids []int) {
	c.place.Helper()
	for _, field := range strings.Fields(c.said(c.stdout, " ")) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			c.place.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// alive reports whether a process runs.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return state[0] != 'Z' && state[0] != 'X'
}

// gone waits until processes have ended.
func (p *place) gone(pids ...int) {
	p.Helper()
	for _, pid := range pids {
		p.eventually("process "+strconv.Itoa(pid)+" has ended", func() bool { return !alive(pid) })
	}
}

// guarded waits until a run has a guard, and returns it.
func (p *place) guarded(run int) (guard int) {
	p.Helper()
	p.eventually("there is a guard", func() bool {
		for _, child := range children(run) { // deeper ones are of runs within it
			if cmdline, _ := os.ReadFile("/proc/" + strconv.Itoa(child) + "/cmdline"); strings.HasPrefix(string(cmdline), guardName+"\x00") {
				guard = child
			}
		}
		return guard != 0
	})
	return guard
}

// With the run, all that the command has started is killed, and the lock is free.
func TestKilledRunLeavesNoOrphan(t *testing.T) {
	backends(t, func(p *place) {
		c := p.start("run", "x", "--", "sh", "-c", tree)
		pids := c.pids()
		guard := p.guarded(c.Process.Pid)
		if err := c.Process.Kill(); err != nil {
			p.Fatal(err)
		}
		p.gone(append(pids, guard)...)
		p.run("run", "--timeout", "1m", "x", "--", "echo", "free").want(p.T, 0, "free", "")
	})
}

// The command itself is killed also while it has no guard yet.
func TestKilledRunLeavesNoCommand(t *testing.T) {
	p := newPlace(t, "")
	for range 20 {
		c := p.start("run", "x", "--", "sh", "-c", "echo $$ -; exec sleep 1000")
		line := c.said(c.stdout, "-")
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSuffix(line, " -\n"))
		p.gone(pid)
	}
}

// A run within a run is part of it: when the outer one is killed, so are both.
func TestKilledOuterRun(t *testing.T) {
	p := newPlace(t, "")
	program := p.locker().Path
	c := p.start("run", "outer", "--", "sh", "-c", program+` run inner -- sh -c '`+tree+`' & wait; :`)
	pids := c.pids()
	outer := p.guarded(c.Process.Pid)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.gone(append(pids, outer)...)
	p.run("run", "--timeout", "1m", "inner", "--", "echo", "free").want(t, 0, "free", "")
}

// When the inner one is killed, the outer one goes on.
func TestKilledInnerRun(t *testing.T) {
	p := newPlace(t, "")
	program := p.locker().Path
	c := p.start("run", "outer", "--", "sh", "-c", program+` run inner -- sh -c 'echo $PPID $$; sleep 1000; :'; echo status $?; read line`)
	pids := c.pids()
	p.guarded(pids[0])
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.said(c.stdout, "status 137")
	p.gone(pids...)
	p.run("run", "--no-wait", "outer", "--", "true").want(t, 1, "", "held by pid "+pid(c))
	c.release()
}

// The guard has nothing open that somebody may wait for, and is in nobody's way.
func TestGuardKeepsNothing(t *testing.T) {
	p := newPlace(t, "")
	c := p.hold("x")
	guard := p.guarded(c.Process.Pid)
	dir := "/proc/" + strconv.Itoa(guard)
	// It may not have become what it is to be yet.
	p.eventually("the guard is set up", func() bool {
		comm, _ := os.ReadFile(dir + "/comm")
		return string(comm) == guardName+"\n"
	})
	for _, fd := range []string{"1", "2"} {
		if to, err := os.Readlink(dir + "/fd/" + fd); to != os.DevNull {
			t.Errorf("%s is %q, %v", fd, to, err)
		}
	}
	if cwd, err := os.Readlink(dir + "/cwd"); cwd != "/" {
		t.Errorf("its directory is %q, %v", cwd, err)
	}
	if session, err := unixSession(guard); session != guard {
		t.Errorf("it is in session %d, %v", session, err)
	}
	c.release()
}

// A loss ends all that the command has started, also what its own end has left.
func TestLossEndsDescendants(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		command string
	}{
		{"SIGTERM", nil, tree},
		{"SIGKILL", []string{"--on-loss", "kill"}, tree},
		{"heedless", []string{"--grace", "50ms"}, `(trap "" TERM; while :; do sleep 0.01; done) >/dev/null 2>&1 & echo $$ $!; wait; :`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, "")
			c := p.start(append(append([]string{"run"}, tt.args...), "x", "--", "sh", "-c", tt.command)...)
			pids := c.pids()
			p.lose("x")
			c.ended().want(t, 75, "", "is lost")
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("%d runs on", pid)
				}
			}
		})
	}
}

// A run within a run that has lost its lock tells its command, which is told once.
func TestLossEndsRunWithin(t *testing.T) {
	p := newPlace(t, "")
	program := p.locker().Path
	c := p.start("run", "outer", "--", "sh", "-c", `trap : TERM; `+program+` run inner -- sh -c '
		trap "kill \$!; n=\$((n+1))" TERM; n=0; `+idle+`; sleep 0.3; echo told $n'; :`)
	c.said(c.stdout, "ready")
	p.lose("outer")
	c.ended().want(t, 75, "told 1\n", "is lost")
}

// A Redis that is gone is a loss, told at once.
func TestLossOnRedis(t *testing.T) {
	s := redistest.Start(t)
	p := newPlace(t, onRedis(s))
	c := p.start("run", "x", "--", "sh", "-c", tree)
	pids := c.pids()
	began := time.Now()
	s.Kill()
	c.ended().want(t, 75, "", `the lock "x" is lost`)
	t.Logf("it took %v", time.Since(began))
	p.gone(pids...)
}

func unixSession(pid int) (int, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strconv.Atoi(strings.Fields(rest)[3])
}
