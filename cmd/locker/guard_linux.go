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

// A guarding is a guard process that runs.
type guarding struct {
	process *os.Process // nil: there is none
	input   *os.File    // only this process has it: it ends with it
}

// startGuard starts the guard of a run. It is not in the way of what waits for the
// end of our output, our terminal or our directory.
func startGuard(cookie string) (*guarding, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return &guarding{}, err
	}
	defer func() { _ = in.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err == nil {
		defer func() { _ = null.Close() }()
		var p *os.Process
		p, err = os.StartProcess("/proc/self/exe", []string{guardName, cookie}, &os.ProcAttr{
			Dir: "/", Env: guardEnvironment(), Files: []*os.File{in, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err == nil {
			return &guarding{p, out}, nil
		}
	}
	_ = out.Close()
	return &guarding{}, err
}

// guardEnvironment returns an environment without the cookies of runs that this one is
// within: their guards need not kill this one's.
func guardEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return hasName(v, envRun) })
}

// end ends the guard, while it still has a run to guard: it does nothing then.
func (g *guarding) end() {
	if g.process == nil {
		return
	}
	_ = g.process.Kill()
	_, _ = g.process.Wait()
	_ = g.input.Close()
}
