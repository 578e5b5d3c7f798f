//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// rerunEnv is the name of a test that a child process runs again.
const rerunEnv = "FILELOCK_TEST_RERUN"

// nobody is a user and a group without any rights, which need not have a name.
const nobody = 65534

// rerun runs the test again in a child process with attr, for what cannot be done
// to this one. It returns true in the child; the test ends when it returns false.
func rerun(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(rerunEnv) == t.Name() {
		return true
	}
	// By this link also those find the program who may not search its directory.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), rerunEnv+"="+t.Name(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.SysProcAttr = attr
	output, err := cmd.CombinedOutput()
	_, ended := errors.AsType[*exec.ExitError](err)
	if err != nil && !ended {
		unavailable(t, "no child process for the test: %v", err)
	}
	t.Logf("child: %s", output)
	switch {
	case err != nil:
		t.Fatal(err)
	case bytes.Contains(output, []byte("--- SKIP: "+t.Name())):
		t.SkipNow()
	case !bytes.Contains(output, []byte("--- PASS: "+t.Name())):
		t.Fatal("the child did not run the test")
	}
	return false
}

// unprivileged runs the test again as nobody if root runs it, whom modes of files
// do not keep out. It returns as rerun does.
func unprivileged(t *testing.T) bool {
	t.Helper()
	switch {
	case os.Geteuid() != 0:
		return true
	case runtime.GOOS != "linux":
		t.Skip("root may read everything")
	}
	return rerun(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// unavailable skips a test for which the machine lacks something. With
// LOCKER_TEST_REQUIRE=all in the environment, the test fails instead.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("LOCKER_TEST_REQUIRE") == "all" {
		t.Fatalf(format+", and LOCKER_TEST_REQUIRE=all", args...)
	}
	t.Skipf(format, args...)
}
