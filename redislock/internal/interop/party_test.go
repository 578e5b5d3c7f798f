package interop

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// pingsFor is how long TestPings lasts.
var pingsFor = flag.Duration("pings", 2*time.Second, "how long to ask a holder whether it is there")

// bound is for what happens soon on any machine.
const bound = 20 * time.Second

// The kinds of processes.
const (
	goRESP3 = "go"
	goRESP2 = "go, RESP2"
	goNamed = "go, PortalockerNames"
	python  = "portalocker 2"   // the first generation, the real one
	peer40  = "portalocker 4.0" // a peer of the second
	peer42  = "portalocker 4.2" // a peer of the third

	// The real portalocker 4, where it is at hand: see portalocker4.
	python4       = "portalocker 4"
	python4Shared = "portalocker 4, shared"
)

// portalocker4 is the folder that has a package portalocker of version 4.
const portalocker4 = "LOCKER_TEST_PORTALOCKER"

var (
	ours    = []string{goRESP3, goRESP2, goNamed}
	foreign = []string{python, peer40, peer42}
)

// partyVariable has the test binary be a process of the kind that it names. See
// party.py for what it is told, and what it says.
const partyVariable = "INTEROP_TEST_PARTY"

func TestMain(m *testing.M) {
	if kind := os.Getenv(partyVariable); kind != "" {
		os.Exit(beParty(kind, os.Args[1], os.Args[2]))
	}
	redistest.Parallel(4)
	os.Exit(m.Run())
}

//go:embed testdata/party.py
var partyScript string

// interpreter returns a Python that has portalocker with a RedisLock.
var interpreter = sync.OnceValues(func() (string, error) {
	var failed error
	for _, path := range []string{"python3", "/usr/bin/python3"} { // the second has the packages of the system
		out, err := exec.Command(path, "-c", "import redis, portalocker; portalocker.RedisLock").CombinedOutput()
		if err == nil {
			return path, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w: %s", path, err, out))
	}
	return "", failed
})

// A party is a process that locks n, on its own or for another library.
type party struct {
	t     *testing.T
	kind  string
	cmd   *exec.Cmd
	in    io.Writer
	says  chan string
	ended chan struct{} // closed when all that it said on stderr is in errors
	fault bytes.Buffer

	patience time.Duration // how long what it says next may take; 0: bound, and that of the flag
}

func start(t *testing.T, kind, addr string) *party {
	t.Helper()
	p := &party{t: t, kind: kind, says: make(chan string, 100), ended: make(chan struct{})}
	if kind == python || kind == python4 || kind == python4Shared {
		path, err := interpreter()
		if err != nil {
			if os.Getenv("LOCKER_TEST_REQUIRE") == "all" {
				t.Fatal("no portalocker for Python, and LOCKER_TEST_REQUIRE=all: ", err)
			}
			t.Skip("no portalocker for Python: ", err)
		}
		p.cmd = exec.Command(path, "-u", "-c", partyScript, addr, "n", kind)
		if kind != python {
			p.cmd.Env = append(os.Environ(), "PYTHONPATH="+os.Getenv(portalocker4))
		}
	} else {
		p.cmd = exec.Command(os.Args[0], addr, "n")
		p.cmd.Env = append(os.Environ(), partyVariable+"="+kind)
	}
	in, err := p.cmd.StdinPipe()
	var out, fault io.ReadCloser
	if err == nil {
		out, err = p.cmd.StdoutPipe()
	}
	if err == nil {
		fault, err = p.cmd.StderrPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	go func() {
		defer close(p.says)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.says <- lines.Text()
		}
	}()
	go func() {
		defer close(p.ended)
		_, _ = p.fault.ReadFrom(fault)
	}()
	t.Cleanup(p.kill)
	p.expect("ready")
	return p
}

// kill ends the process as a crash would; again is allowed.
func (p *party) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	for range p.says {
		// what it said before
	}
	_ = p.cmd.Wait()
}

// exit has the process end by itself, and checks that it said nothing of an error.
func (p *party) exit() {
	p.t.Helper()
	p.tell("exit")
	select {
	case <-p.ended:
	case <-time.After(bound):
		p.t.Fatalf("%s does not end", p.kind)
	}
	if p.fault.Len() > 0 {
		p.t.Errorf("%s: %s", p.kind, &p.fault)
	}
}

func (p *party) tell(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatalf("%s: %v", p.kind, err)
	}
}

// next returns the next thing that the process says.
func (p *party) next() string {
	p.t.Helper()
	select {
	case line, ok := <-p.says:
		if !ok {
			<-p.ended
			p.t.Fatalf("%s has ended: %s", p.kind, &p.fault)
		}
		return line
	case <-time.After(max(p.patience, bound+*pingsFor)):
		p.t.Fatalf("%s says nothing", p.kind)
		return ""
	}
}

// expect waits for the next thing that the process says, and returns what follows
// the word.
func (p *party) expect(word string) []string {
	p.t.Helper()
	line := p.next()
	f := strings.Fields(line)
	if len(f) == 0 || f[0] != word {
		p.t.Fatalf("%s says %q, want %q", p.kind, line, word)
	}
	return f[1:]
}

// acquire takes the lock, and returns its token.
func (p *party) acquire() int {
	p.t.Helper()
	p.begin()
	return p.held()
}

// begin has it wait for the lock.
func (p *party) begin() {
	p.t.Helper()
	p.tell("acquire %d", bound/time.Second)
}

// held waits until it has the lock.
func (p *party) held() int {
	p.t.Helper()
	token, _ := strconv.Atoi(p.expect("held")[0])
	return token
}

// refused checks that the process does not get the lock, and returns how long it
// tried.
func (p *party) refused(timeout time.Duration) time.Duration {
	p.t.Helper()
	began := time.Now()
	p.tell("acquire %f", timeout.Seconds())
	p.expect("locked")
	return time.Since(began)
}

func (p *party) release() {
	p.t.Helper()
	p.tell("release")
	p.expect("released")
}

// beParty is such a process.
func beParty(kind, addr, name string) int {
	var l interface {
		acquire(timeout time.Duration) (token uint64, err error)
		release() error
		err() error
	}
	o := &redis.Options{Addr: addr, Protocol: 3}
	switch kind {
	case goRESP2, peer40, peer42:
		o.Protocol = 2
	}
	client := redis.NewClient(o)
	switch kind {
	case peer40:
		l = newPeer(client, name, 2)
	case peer42:
		l = newPeer(client, name, 3)
	default:
		o := redislock.Options{PortalockerNames: kind == goNamed}
		locks, err := redislock.New(client, &o)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		l = &goLock{Locker: locks, name: name}
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		first, second, _ := strings.Cut(rest, " ")
		number, _ := strconv.ParseFloat(first, 64)
		duration, _ := time.ParseDuration(second)
		timeout := time.Duration(number * float64(time.Second))
		var err error
		switch word {
		case "acquire":
			var token uint64
			token, err = l.acquire(timeout)
			if err == nil {
				fmt.Println("held", token)
			} else if errors.Is(err, locker.ErrAlreadyLocked) {
				fmt.Println("locked")
				err = nil
			}
		case "release":
			if err = l.release(); err == nil {
				fmt.Println("released")
			}
		case "err":
			fmt.Println("lost", errors.Is(l.err(), locker.ErrLost))
		case "count":
			var longest time.Duration
			for range int(number) {
				began := time.Now()
				if _, err = l.acquire(bound); err != nil {
					break
				}
				longest = max(longest, time.Since(began))
				value, _ := client.Get(context.Background(), "counter").Int()
				client.Set(context.Background(), "counter", value+1, 0)
				if err = l.release(); err != nil {
					break
				}
			}
			if err == nil {
				fmt.Println("counted", longest.Milliseconds())
			}
		case "busy":
			for end := time.Now().Add(timeout); time.Now().Before(end) && err == nil; {
				if _, err = l.acquire(bound); err == nil {
					time.Sleep(duration)
					err = l.release()
				}
			}
			if err == nil {
				fmt.Println("done")
			}
		case "tries":
			got, longest := 0, time.Duration(0)
			for range int(number) {
				began := time.Now()
				if _, err = l.acquire(duration); err == nil {
					got++
					err = l.release()
				} else if errors.Is(err, locker.ErrAlreadyLocked) {
					err = nil
				}
				longest = max(longest, time.Since(began))
				if err != nil {
					break
				}
				time.Sleep(peerCheckInterval)
			}
			if err == nil {
				fmt.Println("got", got, longest.Milliseconds())
			}
		case "exit":
			return 0
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

// A goLock is a lock of this library.
type goLock struct {
	*redislock.Locker
	name string
	lock locker.Lock
}

func (g *goLock) acquire(timeout time.Duration) (uint64, error) {
	lock, err := g.Acquire(context.Background(), g.name, locker.WithTimeout(timeout))
	if err != nil {
		return 0, err
	}
	g.lock = lock
	return lock.Token(), nil
}

func (g *goLock) release() error { return g.lock.Release(context.Background()) }
func (g *goLock) err() error     { return g.lock.Err() }
