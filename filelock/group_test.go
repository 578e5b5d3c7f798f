//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package filelock

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

func TestModeOfNewFiles(t *testing.T) {
	tests := []struct{ dir, file fs.FileMode }{
		{0o700, 0o600},
		{0o755, 0o600},
		{0o770, 0o600},
		{0o777 | fs.ModeSticky, 0o600},
		{0o750 | fs.ModeSetgid, 0o600},
		{0o770 | fs.ModeSetgid, 0o660},
		{0o775 | fs.ModeSetgid, 0o660},
		{0o770 | fs.ModeSetgid | fs.ModeSticky, 0o660},
	}
	for _, umask := range []int{0, 0o022, 0o077} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%v, umask %03o", test.dir, umask), func(t *testing.T) {
				dir := t.TempDir()
				chmod(t, dir, test.dir)
				defer unix.Umask(unix.Umask(umask))
				l, _ := open(t, dir, locker.WithCheckInterval(time.Millisecond))
				for _, name := range []string{"name", strings.Repeat("long", 100)} {
					lock := acquire(t, l, name)
					lock.Done() // notices the loss
					isMode(t, dir, test.file)
					if err := l.Break(t.Context(), name); err != nil {
						t.Error(err)
					}
					isMode(t, dir, test.file)
					_ = lock.Release(t.Context()) // lost
				}
			})
		}
	}
}

// isMode checks the modes of all files in a directory.
func isMode(t *testing.T, dir string, want fs.FileMode) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", file.Name(), info.Mode(), err, want)
		}
	}
}

// The mode of a file that was there is whatever somebody wanted.
func TestModeOfAFileThatIsThereStays(t *testing.T) {
	dir := t.TempDir()
	chmod(t, dir, 0o770|fs.ModeSetgid)
	path := filepath.Join(dir, "name")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, 0o640)
	l, _ := open(t, dir)
	release(t, acquire(t, l, "name"))
	isMode(t, dir, 0o640)
}

// group is one of users who are nobody else.
const group = nobody - 1

// groupDirectory returns a directory that a group shares.
func groupDirectory(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root can be other users")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, -1, group); err != nil {
		t.Fatal(err)
	}
	chmod(t, filepath.Dir(dir), 0o755)
	chmod(t, dir, 0o770|fs.ModeSetgid)
	return dir
}

func TestUsersOfAGroupShareLocks(t *testing.T) {
	dir := groupDirectory(t)
	defer unix.Umask(unix.Umask(0o077))
	l, _ := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	for _, first := range []string{"root", "another user"} {
		if first == "root" {
			release(t, acquire(t, l, "name"))
		} else if err := os.Remove(filepath.Join(dir, "name")); err != nil {
			t.Fatal(err)
		}
		kill := runAs(t, "hold", dir, nobody)
		info, err := l.Inspect(t.Context(), "name")
		if err != nil || !info.Held {
			t.Errorf("Inspect = %+v, %v", info, err)
		}
		if _, err := l.Acquire(t.Context(), "name", locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
			t.Errorf("Acquire = %v", err)
		}
		kill()
		release(t, acquire(t, l, "name", locker.WithTimeout(patience)))
		info2, err := os.Stat(filepath.Join(dir, "name"))
		if err != nil || info2.Sys().(*syscall.Stat_t).Gid != group {
			t.Errorf("the file is %+v, %v", info2, err)
		}
	}
}

// A member of the group may break the lock of another's file.
func TestUsersOfAGroupBreakLocks(t *testing.T) {
	dir := groupDirectory(t)
	kill := runAs(t, "hold", dir, nobody)
	defer kill()
	runAs(t, "break", dir, nobody-2)()
	isMode(t, dir, groupMode)
	l, _ := open(t, dir)
	release(t, acquire(t, l, "name", locker.WithTimeout(0)))
	kill()
	kill = runAs(t, "hold", dir, nobody)
	kill()
}

// runAs starts a child process of a user of the group, which ends when kill is called, and
// waits for the first line it prints.
func runAs(t *testing.T, child, dir string, user uint32) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // which also those find who may not search its directory
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"="+child, dirEnv+"="+dir, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: group}}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		unavailable(t, "no child process for the test: %v", err)
	}
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = stdin.Close() })
	t.Cleanup(kill)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal("child: ", err)
	}
	return kill
}

// Between the making of a file and its mode, whatever the umask is, others wait a little.
func TestNewFileOfAGroupIsOpenToIt(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	dir := t.TempDir()
	chmod(t, dir, 0o770|fs.ModeSetgid)
	defer unix.Umask(unix.Umask(0o777))
	var users sync.WaitGroup
	for range 4 {
		l, _ := open(t, dir)
		users.Go(func() {
			for n := range 200 {
				lock, err := l.Acquire(t.Context(), fmt.Sprint(n), locker.WithTimeout(0))
				if err == nil {
					err = lock.Release(t.Context())
				}
				if err != nil && !errors.Is(err, locker.ErrAlreadyLocked) {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
}
