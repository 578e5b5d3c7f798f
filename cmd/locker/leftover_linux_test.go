package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// deaf is a program that no signal but SIGKILL ends: a file does, the first argument. It
// says who its parent and itself are.
const deaf = `sh -c 'trap "" TERM HUP QUIT INT; echo $PPID $$; exec >/dev/null 2>&1; until [ -e "$1" ]; do sleep 0.01; done' sh "$1" `

// free reports whether nobody holds a lock.
func (p *place) free(name string) bool {
	p.Helper()
	return p.run("run", "--no-wait", "--quiet", name, "--", "true").status == 0
}

// A signal to locker alone ends all that the command has started, before others get the
// lock.
func TestSignalEndsAll(t *testing.T) {
	for name, send := range map[string]func(locker int) error{
		"SIGTERM": func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
		"SIGHUP":  func(pid int) error { return syscall.Kill(pid, syscall.SIGHUP) },
		"SIGQUIT": func(pid int) error { return syscall.Kill(pid, syscall.SIGQUIT) },
		"SIGINT":  func(pid int) error { return syscall.Kill(pid, syscall.SIGINT) },
		// As timeout(1) does: it has made the group.
		"SIGTERM to the group": func(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) },
	} {
		for what, command := range map[string]string{
			"a program":     `sh -c 'echo $PPID $$; exec sleep 1000'; :`,
			"in background": tree,
			"setsid":        `setsid sleep 1000 & echo $$ $!; wait; :`,
			"stopped":       `sleep 1000 & kill -STOP $!; echo $$ $!; wait; :`,
			"env -i setsid": `env -i setsid sleep 1000 & echo $$ $!; wait; :`,
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t, "")
				cmd := p.locker("run", "--grace", "1h", "x", "--", "sh", "-c", command)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // not a terminal, and a group
				c := p.launch(cmd)
				pids := c.pids()
				t.Cleanup(func() { _ = syscall.Kill(pids[1], syscall.SIGKILL) })
				if err := send(c.Process.Pid); err != nil {
					t.Fatal(err)
				}
				_ = c.Wait() // the status says it
				if alive(pids[0]) || alive(pids[1]) {
					t.Errorf("status %d, and %d (%v) or %d (%v) runs on", c.ProcessState.ExitCode(), pids[0], alive(pids[0]), pids[1], alive(pids[1]))
				}
			})
		}
	}
}

// The lock is held until what the command leaves after a signal has ended, too.
func TestLockIsHeldUntilAllHasEnded(t *testing.T) {
	p := newPlace(t, "")
	end := filepath.Join(p.dir, "end")
	c := p.start("run", "--grace", "1h", "x", "--", "sh", "-c", `trap 'exit 3' TERM; `+deaf+`& wait`, "sh", end)
	pids := c.pids()
	t.Cleanup(func() { _ = syscall.Kill(pids[1], syscall.SIGKILL) })
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.gone(pids[0])
	if p.free("x") {
		t.Error("another got the lock beside what the command has started")
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.ended().want(t, 3, "", "")
	if alive(pids[1]) || !p.free("x") {
		t.Error("it is not over")
	}
}

// What does not end after SIGTERM is killed after the grace, in whatever group it is.
func TestKilledAfterTheGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		command string
		status  int
	}{
		"the command":     {`trap "" TERM; ` + deaf + `& wait`, 137},
		"what it started": {`trap 'exit 3' TERM; ` + deaf + `& wait`, 3},
		"setsid":          {`trap 'exit 3' TERM; setsid ` + deaf + `& wait`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, "")
			c := p.start("run", "--grace", "300ms", "x", "--", "sh", "-c", tt.command, "sh", filepath.Join(p.dir, "end"))
			pids := c.pids()
			t.Cleanup(func() { _ = syscall.Kill(pids[1], syscall.SIGKILL) })
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.ended().want(t, tt.status, "", `the command under "x" has not ended within 300ms, and is killed`)
			if alive(pids[1]) {
				t.Errorf("%d runs on", pids[1])
			}
		})
	}
}

// SIGHUP and SIGINT may mean something else than to end: what goes on is not killed.
func TestSignalThatEndsNothing(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		p := newPlace(t, "")
		c := p.start("run", "--grace", "1ms", "x", "--", "sh", "-c", `trap 'echo again' HUP INT QUIT; echo ready; while ! read line; do :; done; exit 4`)
		c.said(c.stdout, "ready")
		for range 2 {
			if err := c.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			c.said(c.stdout, "again")
		}
		if p.free("x") {
			t.Errorf("%v has freed the lock", s)
		}
		_ = c.Process.Signal(syscall.SIGKILL)
		c.ended()
	}
}

// What a command leaves in the background keeps the lock, and locker waits for it.
func TestBackgroundKeepsTheLock(t *testing.T) {
	p := newPlace(t, "")
	end := filepath.Join(p.dir, "end")
	c := p.start("run", "x", "--", "sh", "-c", deaf+`& exit 5`, "sh", end)
	pids := c.pids()
	t.Cleanup(func() { _ = syscall.Kill(pids[1], syscall.SIGKILL) })
	c.said(c.stderr, `the command has ended, and "x" is held until what it has left running ends: pid `+strconv.Itoa(pids[1]))
	if p.free("x") {
		t.Error("another got the lock beside what the command has started")
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.ended().want(t, 5, "", "")
	if alive(pids[1]) || !p.free("x") {
		t.Error("it is not over")
	}
}

// A daemon, which has a session of its own, is left alone by a command that has ended by
// itself: nobody waits for it, and the guard of the run does not kill it.
func TestDaemonIsLeftAlone(t *testing.T) {
	p := newPlace(t, "")
	c := p.start("run", "x", "--", "sh", "-c", `setsid sh -c 'echo $PPID $$; exec sleep 1000 >/dev/null 2>&1' & read line`)
	daemon := c.pids()[1]
	defer func() { _ = syscall.Kill(daemon, syscall.SIGKILL) }()
	guard := p.guarded(c.Process.Pid)
	c.release()
	p.gone(guard)
	if !p.free("x") || !alive(daemon) {
		t.Error("it was killed, or keeps the lock")
	}
}

// What ran before locker took the place of the program that had started it is not of the
// run: like tee, in a shell with >(tee log).
func TestChildrenFromBefore(t *testing.T) {
	p := newPlace(t, "")
	cmd := p.locker()
	cmd.Args = append([]string{"sh", "-c", `sleep 1000 >/dev/null 2>&1 & echo $$ $!; exec "$@"`, "sh", cmd.Path}, "run", "x", "--", "sh", "-c", tree)
	cmd.Path = "/bin/sh"
	c := p.launch(cmd)
	before, pids := c.pids()[1], c.pids()
	defer func() { _ = syscall.Kill(before, syscall.SIGKILL) }()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.ended()
	p.gone(pids...)
	if !alive(before) {
		t.Error("it was killed")
	}
}

// A loss ends also what hides: another session, another environment, and no parent.
func TestLossEndsWhatHides(t *testing.T) {
	p := newPlace(t, "")
	c := p.start("run", "x", "--", "sh", "-c", `sh -c 'env -i setsid sh -c "echo 0 \$\$; exec sleep 1000" &'; read line`)
	hidden := c.pids()[1]
	t.Cleanup(func() { _ = syscall.Kill(hidden, syscall.SIGKILL) })
	p.lose("x")
	_ = c.Wait() // the status says it
	if alive(hidden) || c.ProcessState.ExitCode() != 75 {
		t.Errorf("status %d, want 75; does it run on: %v", c.ProcessState.ExitCode(), alive(hidden))
	}
}

// As the first process of a container, locker reaps what nobody else does, and passes
// signals on.
func TestFirstProcess(t *testing.T) {
	unshare := []string{"--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Skipf("there are no namespaces here: %v: %s", err, out)
	}
	p := newPlace(t, "")
	cmd := p.locker()
	const orphans = `for i in 1 2 3 4 5; do sh -c 'sleep 0 &'; done; until ! grep -l "^State:.Z" /proc/[0-9]*/status; do sleep 0.01; done 2>/dev/null >&2; echo first $PPID; sleep 1000; :`
	cmd.Args = append(append([]string{"unshare"}, unshare...), cmd.Path, "run", "x", "--", "sh", "-c", orphans)
	var err error
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	c := p.launch(cmd)
	time.AfterFunc(bound/2, func() { _ = c.Process.Kill() }) // if it does not reap them
	c.said(c.stdout, "first 1\n")
	if err := syscall.Kill(children(c.Process.Pid)[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.ended().want(t, 143, "", "")
}
