package locktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
)

// childVariable makes a child of the test binary. Its value, a role in JSON, says
// which test serves which place.
const childVariable = "LOCKTEST_CHILD"

type role struct {
	Test string
	Addr string
}

// A request is a line in JSON that the parent writes to the child's stdin.
type request struct {
	ID      int // greater than readyID
	Op      string
	Name    string
	Timeout time.Duration // of an Acquire
	Lock    int           // to release: the ID of its Acquire
	File    string        // to count in
	Rounds  int
}

const (
	opAcquire = "acquire"
	opRelease = "release"
	opCount   = "count"
)

// A reply is a line that the child writes to stdout: replyPrefix, which tells it
// from what else is printed there, and JSON.
type reply struct {
	ID      int
	Waiting bool // the Acquire waits; another reply will follow
	Token   uint64
	Error   string
	Held    bool // the error matches ErrAlreadyLocked
}

const (
	replyPrefix = "locktest reply: "
	readyID     = 0 // of the reply that no request asked for
)

// servedParent does nothing and returns false unless this process is a child.
func servedParent(t *testing.T, s suite) bool {
	t.Helper()
	value, ok := os.LookupEnv(childVariable)
	if !ok {
		return false
	}
	var r role
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		t.Fatalf("%s=%q: %v", childVariable, value, err)
	}
	if r.Test == t.Name() {
		serve(t, s.Open(t, r.Addr))
	}
	return true
}

// serve does what the parent asks for, until it closes stdin or dies.
func serve(t *testing.T, l locker.Locker) {
	t.Helper()
	s := server{l: l, locks: make(map[int]locker.Lock)}
	var serving sync.WaitGroup
	s.reply(reply{ID: readyID})
	for requests := json.NewDecoder(os.Stdin); ; {
		var r request
		if err := requests.Decode(&r); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("reading a request: %v", err)
			}
			break
		}
		serving.Go(func() { s.serve(r) })
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
	serving.Wait()
}

// A server is the child's side.
type server struct {
	l     locker.Locker
	mu    sync.Mutex
	locks map[int]locker.Lock // guarded by mu: by the ID of the request
}

func (s *server) reply(r reply) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(os.Stdout, "\n%s%s\n", replyPrefix, line)
}

func (s *server) serve(r request) {
	var token uint64
	var err error
	switch r.Op {
	case opAcquire:
		token, err = s.acquire(r)
	case opRelease:
		s.mu.Lock()
		lock := s.locks[r.Lock]
		s.mu.Unlock()
		err = lock.Release(context.Background())
	case opCount:
		err = count(context.Background(), s.l, r.Name, r.File, r.Rounds, r.Timeout)
	default:
		err = fmt.Errorf("unknown operation %q", r.Op)
	}
	answer := reply{ID: r.ID, Token: token, Held: errors.Is(err, locker.ErrAlreadyLocked)}
	if err != nil {
		answer.Error = err.Error()
	}
	s.reply(answer)
}

func (s *server) acquire(r request) (token uint64, err error) {
	ctx := &watchedContext{Context: context.Background(), asked: make(chan struct{})}
	ended, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-ctx.asked:
			s.reply(reply{ID: r.ID, Waiting: true})
		case <-ended:
		}
	}()
	lock, err := s.l.Acquire(ctx, r.Name, locker.WithTimeout(r.Timeout))
	close(ended)
	<-told
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks[r.ID] = lock
	return lock.Token(), nil
}

// count increments the number in a file under the lock called name, in as many
// rounds. The file has the token of the latest hold besides.
func count(ctx context.Context, l locker.Locker, name, file string, rounds int, timeout time.Duration) error {
	for range rounds {
		lock, err := l.Acquire(ctx, name, locker.WithTimeout(timeout), quick)
		if err != nil {
			return err
		}
		n, token, err := readCount(file)
		if err == nil && n > 0 && lock.Token() <= token {
			err = fmt.Errorf("token %d after token %d, want a greater one", lock.Token(), token)
		}
		if err == nil {
			err = os.WriteFile(file, fmt.Appendf(nil, "%d %d", n+1, lock.Token()), 0o600)
		}
		if released := lock.Release(ctx); err == nil {
			err = released
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readCount returns the number in a file and the token, or 0 and 0 if there is no
// file yet.
func readCount(file string) (n int, token uint64, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d %d", &n, &token)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the count, which is written under the lock: %w", err)
	}
	return n, token, nil
}
