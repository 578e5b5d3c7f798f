package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A process is kept on one processor, all its threads and those that come, and may run
// on as many as before in the end.
func TestPin(t *testing.T) {
	all := processors()
	if len(all) < 2 {
		t.Skip("this process may run on one processor only")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for _, pid := range []int{cmd.Process.Pid, os.Getpid()} {
		unpin, err := pin(pid, all[1])
		if err != nil {
			t.Fatal(err)
		}
		var now unix.CPUSet
		if err := unix.SchedGetaffinity(pid, &now); err != nil || now.Count() != 1 || !now.IsSet(all[1]) {
			t.Errorf("process %d may run on %v, error %v, want processor %d", pid, now, err, all[1])
		}
		if err := unpin(); err != nil {
			t.Error(err)
		}
		if err := unix.SchedGetaffinity(pid, &now); err != nil || now.Count() != len(all) {
			t.Errorf("process %d may run on %v, error %v, want %v", pid, now, err, all)
		}
	}
	if again := processors(); !slices.Equal(again, all) {
		t.Errorf("processors %v, want %v", again, all)
	}
	if _, err := pin(1<<30, all[0]); err == nil {
		t.Error("a process that does not exist was pinned")
	}
}
