package main

import (
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// guardName is the name of a process that kills what is left of a run, when the run was
// killed itself. Its only argument is the cookie of the run, and its input ends with the
// run.
const guardName = "locker-guard"

func isGuard(args []string) bool { return len(args) == 2 && args[0] == guardName }

// guard is what that process does. A run that ends well kills it before.
func guard(args []string) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	_ = os.WriteFile("/proc/self/comm", []byte(guardName), 0) // only for people
	_, _ = io.Copy(io.Discard, os.Stdin)                      // whatever ends it
	killRun(args[1])
}

// startGuard starts the guard of a run. It is not in the way of what waits for the
// end of our output, our terminal or our directory.
func (c *child) startGuard(cookie string) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		_ = out.Close()
		return err
	}
	defer func() { _ = null.Close() }()
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{guardName, cookie}, &syscall.ProcAttr{ //nolint:gosec // it is this program
		Dir: "/", Env: guardEnvironment(), Files: []uintptr{in.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_ = out.Close()
		return err
	}
	c.others[pid] = true
	c.guard, c.run = pid, out
	return nil
}

// guardEnvironment returns an environment without the cookies of runs that this one is
// within: their guards need not kill this one's.
func guardEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return hasName(v, envRun) })
}

// endGuard ends the guard, while it still has a run to guard: it does nothing then.
func (c *child) endGuard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.others[c.guard] {
		_ = syscall.Kill(c.guard, syscall.SIGKILL)
		_, _ = syscall.Wait4(c.guard, nil, 0, nil) // not everywhere would somebody else reap it
	}
}
