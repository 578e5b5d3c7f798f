package redislock_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// childVariable has the test binary acquire the lock n of the Redis that it names,
// say so, and then, when it is told to, say what the first Err of the lock is. Its
// UnavailableTimeout is patienceVariable. waitersVariable is how many more of its Lockers
// wait for the lock meanwhile.
const (
	childVariable    = "REDISLOCK_TEST_CHILD"
	patienceVariable = "REDISLOCK_TEST_PATIENCE"
	waitersVariable  = "REDISLOCK_TEST_WAITERS"
)

func child() int {
	c := redis.NewClient(&redis.Options{Addr: os.Getenv(childVariable)})
	defer c.Close()
	patience, _ := time.ParseDuration(os.Getenv(patienceVariable))
	l, err := redislock.New(c, &redislock.Options{UnavailableTimeout: patience})
	if err == nil {
		defer l.Close()
		var lock locker.Lock
		if lock, err = l.Acquire(context.Background(), "n", locker.WithTimeout(bound)); err == nil {
			fmt.Println("held", lock.Token())
			waiters, _ := strconv.Atoi(os.Getenv(waitersVariable))
			for range waiters {
				other, err := redislock.New(c, nil)
				if err != nil {
					fmt.Println("failed", err)
					return 1
				}
				go func() { _, _ = other.Acquire(context.Background(), "n", locker.WithTimeout(locker.NoTimeout)) }()
			}
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			err = lock.Err()
			fmt.Println("lost", errors.Is(err, locker.ErrLost), err)
			return 0
		}
	}
	fmt.Println("failed", err)
	return 1
}

// A process is a child that can be frozen.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.Writer
	lines *bufio.Reader
}

func startChild(t testing.TB, addr string) *process {
	t.Helper()
	return startPatientChild(t, addr, time.Second)
}

func startPatientChild(t testing.TB, addr string, patience time.Duration) *process {
	t.Helper()
	return startChildWith(t, addr, patienceVariable+"="+patience.String())
}

func startChildWith(t testing.TB, addr string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childVariable+"="+addr), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, lines: bufio.NewReader(out)}
	t.Cleanup(p.end)
	return p
}

// end kills the child; again is allowed.
func (p *process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// says checks that the next thing that the child says begins with prefix.
func (p *process) says(prefix string) {
	p.t.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, prefix) {
		p.t.Fatalf("the child says %q, %v; want %q", line, err, prefix)
	}
}

// A lock whose holder is frozen is taken from it, and the holder knows by the first
// call after it wakes.
func TestFrozenHolder(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		p := startChild(t, s.Addr)
		p.says("held")
		p.freeze()
		lock := acquire(t, openAlert(t, s.Addr, protocol), "n")
		p.thaw()
		fmt.Fprintln(p.in)
		p.says("lost true")
		if err := lock.Err(); err != nil {
			t.Error(err)
		}
		release(t, lock)
	})
}

// One who is frozen at the head of the queue holds up those behind it for a while,
// and once.
func TestFrozenWaiter(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		held := acquire(t, openAlert(t, s.Addr, protocol), "n")
		p := startChild(t, s.Addr)
		queued(t, s, "n", 1)
		p.freeze()
		acquired := make(chan locker.Lock, 1)
		l := openAlert(t, s.Addr, protocol)
		go func() { acquired <- acquire(t, l, "n") }()
		queued(t, s, "n", 2)
		release(t, held)
		lock := <-acquired
		p.thaw() // and it waits for its turn
		release(t, lock)
		p.says("held")
	})
}

// A holder that is cut off from its server, with its connection open at both ends,
// says so before the lock is granted to another one.
func TestPartition(t *testing.T) {
	t.Parallel()
	const runs = 5
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		other := openAlert(t, s.Addr, protocol)
		var all sync.WaitGroup
		for i := range runs {
			name := fmt.Sprint("n", i)
			var n network
			c := s.Client(func(o *redis.Options) { n.partition(o); o.Protocol = protocol })
			lock := acquire(t, openWith(t, c, nil), name)
			n.silent.Store(true)
			all.Go(func() {
				next, err := other.Acquire(t.Context(), name, locker.WithTimeout(bound))
				if err := lock.Err(); !errors.Is(err, locker.ErrLost) {
					t.Errorf("the lock is granted while the Err of the other holder is %v", err)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if next.Token() <= lock.Token() {
					t.Errorf("token %d after %d", next.Token(), lock.Token())
				}
				if err := next.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}

// A holder that is slow, and waiters that ask it all the time, cost it nothing.
func TestSlowHolderIsKept(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		var logs syncBuffer
		logger := locker.WithLogger(slog.New(slog.NewTextHandler(&logs, nil)))
		s := redistest.Start(t)
		n := network{delay: 50 * time.Millisecond}
		held := acquire(t, openWith(t, s.Client(func(o *redis.Options) { n.options(o); o.Protocol, o.ReadTimeout = protocol, 0 }), nil, logger), "n")
		for range 3 {
			_, err := openAlert(t, s.Addr, protocol, logger).Acquire(t.Context(), "n", locker.WithTimeout(1500*time.Millisecond))
			if !errors.Is(err, locker.ErrTimeout) {
				t.Errorf("a lock that is held: %v, want ErrTimeout", err)
			}
		}
		if err := held.Err(); err != nil {
			t.Error(err)
		}
		release(t, held)
		if logs.String() != "" {
			t.Errorf("the log: %s", logs.String())
		}
	})
}

// A holder that stands still for half of UnavailableTimeout keeps its lock.
func TestPausedHolderIsKept(t *testing.T) {
	t.Parallel()
	long(t)
	const patience = 8 * time.Second
	s := redistest.Start(t)
	p := startPatientChild(t, s.Addr, patience)
	p.says("held")
	waiter := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: patience})
	waited := make(chan error)
	go func() {
		_, err := waiter.Acquire(t.Context(), "n", locker.WithTimeout(patience*3/2))
		waited <- err
	}()
	queued(t, s, "n", 1)
	p.freeze()
	time.Sleep(patience / 2)
	p.thaw()
	if err := <-waited; !errors.Is(err, locker.ErrTimeout) {
		t.Errorf("Acquire of a lock whose holder has paused: %v, want ErrTimeout", err)
	}
	fmt.Fprintln(p.in)
	p.says("lost false <nil>")
}

// A holder that hears pings and cannot answer them does not wait until it is cut off.
func TestHolderThatCannotAnswerKnows(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		s.Do("ACL", "SETUSER", "worker", "on", ">secret", "~*", "resetchannels", "&n", "&n:h:*", "&locker:session:*", "+@all")
		worker := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, "worker", "secret" }), nil)
		held := acquire(t, worker, "n")
		next := acquire(t, openAlert(t, s.Addr, protocol), "n")
		if err := held.Err(); err == nil || !strings.Contains(err.Error(), "lease") {
			t.Errorf("the holder that was asked and could not answer: Err = %v, want that its lease ran out", err)
		}
		release(t, next)
	})
}

// Where a holder cannot be disconnected, that is said once, and waiting goes on.
func TestKillNotPermitted(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		setUser(s, "worker", append([]string{"on", ">secret", "~*", "&*", "+@all"}, denying("client|kill")...))
		p := startChild(t, s.Addr)
		p.says("held")
		p.freeze()
		var logs syncBuffer
		worker := openWith(t, s.Client(func(o *redis.Options) { o.Protocol, o.Username, o.Password = protocol, "worker", "secret" }),
			&redislock.Options{UnavailableTimeout: 200 * time.Millisecond}, locker.WithCheckInterval(20*time.Millisecond),
			locker.WithLogger(slog.New(slog.NewTextHandler(&logs, nil))))
		acquired := make(chan locker.Lock, 1)
		go func() { acquired <- acquire(t, worker, "n") }()
		poll(t, "the warning", func() bool { return strings.Contains(logs.String(), "cannot be disconnected") })
		if _, err := worker.Acquire(t.Context(), "n", locker.WithTimeout(time.Second)); !errors.Is(err, locker.ErrTimeout) {
			t.Errorf("Acquire: %v, want ErrTimeout", err)
		}
		if n := strings.Count(logs.String(), "\n"); n != 1 {
			t.Errorf("the log: %s", logs.String())
		}
		_ = p.cmd.Process.Kill()
		release(t, <-acquired)
	})
}

// Where no holder is known, those who do not answer are cut off if their connection
// is that of a session on this lock, or has the name of a portalocker; and nobody
// else is, however alike its name is.
func TestHungWithoutAName(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("5", 32)
	for _, tt := range []struct {
		name     string
		channels []string
		client   string
		killed   bool
	}{
		{"a session that hung while it claimed", []string{"n", "n:h:" + id}, "locker:session:" + id, true},
		{"a session of another lock", []string{"n", "other:h:" + id}, "locker:session:" + id, false},
		{"portalocker 3", []string{"n"}, "n-lock", true},
		{"portalocker 4", []string{"n"}, "n-lock-" + id, true},
		{"another lock's portalocker", []string{"n"}, "nn-lock", false},
		{"a name that begins alike", []string{"n"}, "n-lock-manager", false},
		{"a name that is longer", []string{"n"}, "n-lock-" + id + "0", false},
		{"no name", []string{"n"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			conn := s.Raw()
			if tt.client != "" {
				conn.Do("CLIENT", "SETNAME", tt.client)
			}
			conn.Do(append([]string{"SUBSCRIBE"}, tt.channels...)...)
			l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond}, locker.WithCheckInterval(20*time.Millisecond))
			if !tt.killed {
				if _, err := l.Acquire(t.Context(), "n", locker.WithTimeout(time.Second)); !errors.Is(err, locker.ErrTimeout) {
					t.Errorf("Acquire: %v, want ErrTimeout", err)
				}
				if n := s.Do("PUBSUB", "NUMSUB", "n").([]any)[1]; n != int64(1) {
					t.Errorf("%v subscribers, want the one that is not ours to cut", n)
				}
				return
			}
			release(t, acquire(t, l, "n"))
		})
	}
}

// A foreign holder that answers is left alone.
func TestForeignHolderThatAnswers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	conn := s.Raw()
	conn.Do("CLIENT", "SETNAME", "n-lock")
	conn.Do("SUBSCRIBE", "n")
	c := s.Client(nil)
	var pings atomic.Int64
	go func() {
		for {
			text, err := conn.Read()
			if err != nil {
				return
			}
			if _, rest, ok := strings.Cut(text, `"response_channel":"`); ok {
				channel, _, _ := strings.Cut(rest, `"`)
				pings.Add(1)
				c.Publish(context.Background(), channel, "1732385415.5")
			}
		}
	}()
	l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond}, locker.WithCheckInterval(20*time.Millisecond))
	if _, err := l.Acquire(t.Context(), "n", locker.WithTimeout(1500*time.Millisecond)); !errors.Is(err, locker.ErrTimeout) {
		t.Errorf("Acquire: %v, want ErrTimeout", err)
	}
	if pings.Load() == 0 {
		t.Error("it was never asked")
	}
	if n := s.Do("PUBSUB", "NUMSUB", "n").([]any)[1]; n != int64(1) {
		t.Errorf("%v subscribers, want the holder", n)
	}
}

// A syncBuffer is written to and read by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
