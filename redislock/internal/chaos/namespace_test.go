//go:build linux

package chaos

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// namespacesMissing returns why there can be no network namespaces, or "".
func namespacesMissing() string {
	if os.Getuid() != 0 {
		return "network namespaces need root"
	}
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed"
		}
	}
	return ""
}

// requireNamespaces skips the test where there are no network namespaces. With
// LOCKER_TEST_REQUIRE=all in the environment, the test fails instead.
func requireNamespaces(t *testing.T) {
	t.Helper()
	why := namespacesMissing()
	switch {
	case why == "":
	case os.Getenv("LOCKER_TEST_REQUIRE") == "all":
		t.Fatalf("%s, and LOCKER_TEST_REQUIRE=all", why)
	default:
		t.Skip(why)
	}
}

// A namespace is a network namespace, with a cable to ours: a veth pair. It has no
// name, and is gone with the processes in it, however the test ends.
type namespace struct {
	t        testing.TB
	pid      string // of the process that keeps it
	ours     string // our end of the cable
	theirs   string
	addr     string // of our end
	peerAddr string
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	keeper := exec.Command("cat") // until its standard input ends, with this process
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.(io.Closer).Close()
		_ = keeper.Wait()
	})
	n := &namespace{t: t, pid: strconv.Itoa(keeper.Process.Pid)}
	for range 10 { // somebody else may have drawn the same
		number := rand.IntN(1 << 14)
		n.ours, n.theirs = fmt.Sprintf("chaos%da", number), fmt.Sprintf("chaos%db", number)
		net := fmt.Sprintf("10.213.%d.", number>>6)
		n.addr, n.peerAddr = net+strconv.Itoa(number&63<<2+1), net+strconv.Itoa(number&63<<2+2)
		if n.ip("link", "add", n.ours, "type", "veth", "peer", "name", n.theirs, "netns", n.pid) == nil {
			break
		}
	}
	for _, err := range []error{
		n.ip("addr", "add", n.addr+"/30", "dev", n.ours),
		n.ip("link", "set", n.ours, "up"),
		n.inside("link", "set", "lo", "up"),
		n.inside("addr", "add", n.peerAddr+"/30", "dev", n.theirs),
		n.inside("link", "set", n.theirs, "up"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = n.ip("link", "del", n.ours) })
	return n
}

// by is the command that runs another one in the namespace.
func (n *namespace) by() []string { return []string{"nsenter", "--net=/proc/" + n.pid + "/ns/net"} }

// plug puts an end of the cable out or in again.
func (n *namespace) plug(ours bool, state string) {
	n.t.Helper()
	var err error
	if ours {
		err = n.ip("link", "set", n.ours, state)
	} else {
		err = n.inside("link", "set", n.theirs, state)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespace) ip(args ...string) error { return run(append([]string{"ip"}, args...)) }

func (n *namespace) inside(args ...string) error { return run(append(append(n.by(), "ip"), args...)) }

func run(words []string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return nil
}
