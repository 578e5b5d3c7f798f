// Package programtest runs the program that a test is of, as a process.
package programtest

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// The environment variable with which a test binary is the program.
const asProgram = "LOCKER_TEST_AS_PROGRAM"

// Main is for TestMain: it runs the tests, or main where they have started the
// test binary as the program.
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	// Below nohup, or behind a shell's &, the programs that tests start would be deaf to
	// signals. What is caught here is not ignored there.
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	os.Exit(m.Run())
}

// Command returns a command that runs the program, and the environment that it, and what
// it starts, needs besides.
func Command(arguments ...string) (cmd *exec.Cmd, environment []string) {
	return exec.Command(os.Args[0], arguments...), []string{asProgram + "=1", "GORACE=atexit_sleep_ms=0"}
}

// RefusesArguments checks that the program, which takes no arguments, does not run
// with one, and tells its usage.
func RefusesArguments(t *testing.T) {
	t.Helper()
	for argument, status := range map[string]int{"-bogus": 2, "bogus": 2, "-h": 0} {
		cmd, environment := Command(argument)
		dir := t.TempDir() // what takes no notice of the argument leaves its files there
		cmd.Env = append(append(os.Environ(), environment...), "HOME="+dir, "XDG_CACHE_HOME="+dir, "LocalAppData="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), "Usage of") {
			t.Errorf("%s: status %d, output %q; want %d and the usage", argument, got, out, status)
		}
	}
}
