// Package programtest runs the program that a test is of, as a process.
package programtest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
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
	os.Exit(m.Run())
}

// RefusesArguments checks that the program, which takes no arguments, does not run
// with one, and tells its usage.
func RefusesArguments(t *testing.T) {
	t.Helper()
	for argument, status := range map[string]int{"-bogus": 2, "bogus": 2, "-h": 0} {
		cmd := exec.Command(os.Args[0], argument)
		dir := t.TempDir() // what takes no notice of the argument leaves its files there
		cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0", "HOME="+dir, "XDG_CACHE_HOME="+dir, "LocalAppData="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), "Usage of") {
			t.Errorf("%s: status %d, output %q; want %d and the usage", argument, got, out, status)
		}
	}
}
