package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
)

func inspect(t testing.TB, l locker.Inspector, name string) locker.Info {
	t.Helper()
	info, err := l.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func names(t testing.TB, l locker.Inspector) (names []string) {
	t.Helper()
	for name, err := range l.Names(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// A thousand waiters are counted in one round trip, and those of them that have died are
// not.
func TestInspectIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	lock := acquire(t, open(t, s.Addr, 3), "n")
	var m meter
	l := openWith(t, s.Client(m.options), calm)
	inspect(t, l, "other") // connects, and the script is new to the server
	waiters, dead := s.Raw(), s.Raw()
	for i := range 1100 {
		id, conn := fmt.Sprintf("%032x", i), waiters
		if i%11 == 10 {
			conn = dead
		}
		s.Do("RPUSH", "n:locker:queue", id)
		conn.Do("SUBSCRIBE", "n:w:"+id)
	}
	dead.Do("QUIT")
	poll(t, "the dead are gone", func() bool { return len(s.Do("PUBSUB", "CHANNELS", "n:w:*").([]any)) == 1000 })
	writes := m.writes.Load()
	info := inspect(t, l, "n")
	if n := m.writes.Load() - writes; n != 1 {
		t.Errorf("%d round trips, want 1", n)
	}
	host, _ := os.Hostname()
	if info.Waiters != 1000 || !info.Held || info.Holder.Token != lock.Token() || info.Holder.PID != os.Getpid() ||
		info.Holder.Host != host || len(info.Holder.ID) != 32 || time.Since(info.Holder.Since).Abs() > time.Minute {
		t.Errorf("%+v, want 1000 waiters and token %d", info, lock.Token())
	}
}

// What n:locker:holder says is no holder when that is gone, and nobody is on the lock; and the
// one that is there is shown if n:locker:holder was lost.
func TestInspectAndStaleHints(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l, other := open(t, s.Addr, 3), open(t, s.Addr, 3)
	held := acquire(t, l, "n")
	s.Do("DEL", "n:locker:holder")
	if info := inspect(t, other, "n"); !info.Held || info.Holder.Token != 0 {
		t.Errorf("%+v, want a holder of which no more is known", info)
	}
	release(t, held)
	held = acquire(t, l, "n")
	hint := s.Do("GET", "n:locker:holder").(string)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "Done", held.Done())
	s.Do("SET", "n:locker:holder", hint)
	if info := inspect(t, other, "n"); info != (locker.Info{Name: "n"}) {
		t.Errorf("%+v, want it to be free", info)
	}
	if got := names(t, other); len(got) > 0 {
		t.Errorf("names %q, want none", got)
	}
	python := s.Raw()
	python.Do("SUBSCRIBE", "n")
	if info := inspect(t, other, "n"); !info.Held || info.Holder != (locker.Holder{}) {
		t.Errorf("%+v, want it to be held by somebody unknown", info)
	}
}

// Names takes more than one step, and knows hints from other keys.
func TestNamesOfMany(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l, other := open(t, s.Addr, 3), open(t, s.Addr, 2)
	var want []string
	for i := range 500 {
		name := fmt.Sprintf("job %03d", i)
		want = append(want, name)
		acquire(t, l, name)
		s.Do("SET", fmt.Sprint(i, ":locker:holder"), "somebody")
	}
	release(t, acquire(t, l, "free"))
	s.Do("RPUSH", "list:locker:holder", "a")
	s.Do("SET", ":locker:holder", strings.Repeat("5", 32))
	if got := names(t, other); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var last error
	for _, err := range other.Names(ctx) {
		cancel(errors.New("seen enough"))
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("Names went on when its ctx had ended: %v", last)
	}
}

func TestInspectAnUnreachableServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, s.Addr, 3)
	inspect(t, l, "n")
	s.Kill()
	if _, err := l.Inspect(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Inspect: %v", err)
	}
	if err := l.Break(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Break: %v", err)
	}
	told := false
	for _, err := range l.Names(t.Context()) {
		if told = errors.Is(err, locker.ErrUnavailable); !told {
			t.Errorf("Names: %v", err)
		}
	}
	if !told {
		t.Error("Names ends without an error")
	}
}

// A replica knows nothing of subscriptions, and no lock is called free there.
func TestInspectOnAReplica(t *testing.T) {
	t.Parallel()
	s, replica := redistest.Start(t), redistest.Start(t)
	host, port, _ := strings.Cut(s.Addr, ":")
	replica.Do("REPLICAOF", host, port)
	acquire(t, open(t, s.Addr, 3), "n")
	poll(t, "the replica has the hint", func() bool { return replica.Do("EXISTS", "n:locker:holder") == int64(1) })
	l := open(t, replica.Addr, 3)
	if _, err := l.Inspect(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("Inspect: %v", err)
	}
	if err := l.Break(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) {
		t.Errorf("Break: %v", err)
	}
	told := false
	for _, err := range l.Names(t.Context()) {
		told = errors.Is(err, locker.ErrUnavailable)
	}
	if !told {
		t.Error("Names does not say that it does not know")
	}
}

// A server that says nothing keeps nobody for longer than ctx.
func TestInspectASilentServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const silence = 5 * time.Second
	l := openWith(t, redistest.Client(t, listener.Addr().String(), func(o *redis.Options) { o.ReadTimeout = silence }), nil)
	for what, look := range map[string]func(context.Context) error{
		"Inspect": func(ctx context.Context) error { _, err := l.Inspect(ctx, "n"); return err },
		"Break":   func(ctx context.Context) error { return l.Break(ctx, "n") },
		"Names": func(ctx context.Context) (err error) {
			for _, err = range l.Names(ctx) {
				continue
			}
			return err
		},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(errEnough) })
		began := time.Now()
		if err := look(ctx); !errors.Is(err, errEnough) {
			t.Errorf("%s: %v, want the cause of ctx", what, err)
		}
		if took := time.Since(began); took > silence/2 {
			t.Errorf("%s took %v", what, took)
		}
	}
}

var errEnough = errors.New("waited enough")
