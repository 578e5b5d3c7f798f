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
	"github.com/golocker/locker/redislock"
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
		s.Do("RPUSH", "n-queue", id)
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

// What n-holder says is no holder when that is gone, and nobody is on the lock; and the
// one that is there is shown if n-holder was lost.
func TestInspectAndStaleHints(t *testing.T) {
	s := redistest.Start(t)
	l, other := open(t, s.Addr, 3), open(t, s.Addr, 3)
	held := acquire(t, l, "n")
	s.Do("FLUSHALL")
	if info := inspect(t, other, "n"); !info.Held || info.Holder.Token != 0 {
		t.Errorf("%+v, want a holder of which no more is known", info)
	}
	release(t, held)
	held = acquire(t, l, "n")
	hint := s.Do("GET", "n-holder").(string)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "Done", held.Done())
	s.Do("SET", "n-holder", hint)
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

// A lock that lingers is free, and one that may linger and is held is not.
func TestInspectOfALockThatLingers(t *testing.T) {
	s := redistest.Start(t)
	l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
	for _, protocol := range []int{3, 2} {
		for _, o := range []*redislock.Options{calm, lingers(time.Hour)} {
			other := openWith(t, s.Client(func(o *redis.Options) { o.Protocol = protocol }), o)
			held := acquire(t, l, "held")
			for range 10 {
				release(t, acquire(t, l, "n"))
				if info := inspect(t, other, "n"); info != (locker.Info{Name: "n"}) {
					t.Errorf("%+v, want it to be free", info)
				}
				release(t, acquire(t, l, "n"))
				if got := names(t, other); !slices.Equal(got, []string{"held"}) {
					t.Errorf("names %q, want the one that is held", got)
				}
				lock := acquire(t, l, "n")
				if info := inspect(t, other, "n"); !info.Held || info.Holder.Token != lock.Token() {
					t.Errorf("%+v, want token %d", info, lock.Token())
				}
				release(t, lock)
			}
			if err := held.Err(); err != nil {
				t.Error(err)
			}
			release(t, held)
		}
	}
}

// Names takes more than one step, and knows hints from other keys.
func TestNamesOfMany(t *testing.T) {
	s := redistest.Start(t)
	l, other := open(t, s.Addr, 3), open(t, s.Addr, 2)
	var want []string
	for i := range 500 {
		name := fmt.Sprintf("job %03d", i)
		want = append(want, name)
		acquire(t, l, name)
		s.Do("SET", fmt.Sprint(i, "-holder"), "somebody")
	}
	release(t, acquire(t, l, "free"))
	s.Do("RPUSH", "list-holder", "a")
	s.Do("SET", "-holder", strings.Repeat("5", 32))
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

// A holder is told before the next one holds, and keeps its other locks.
func TestBreakIsToldFirst(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		holder, next, operator := open(t, s.Addr, protocol), open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		kept := acquire(t, holder, "kept")
		for range 50 {
			lock := acquire(t, holder, "n")
			done := lock.Done()
			waits := make(chan struct{})
			told := make(chan bool, 1)
			go func() {
				successor, err := next.Acquire(&watched{Context: context.Background(), waits: waits}, "n", locker.WithTimeout(bound))
				select {
				case <-done:
					told <- true
				default:
					told <- false
				}
				if err != nil {
					t.Error(err)
					return
				}
				release(t, successor)
			}()
			await(t, "the next one waits", waits)
			if err := operator.Break(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			if !<-told {
				t.Error("the next one holds, and the one before does not know")
			}
			if err := lock.Release(t.Context()); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Release: %v, want ErrLost", err)
			}
		}
		if err := kept.Err(); err != nil {
			t.Errorf("the holder's other lock: %v", err)
		}
		release(t, kept)
	})
}

// A Break that meets a release, or the next hold, takes no other hold than it saw.
func TestBreakMeetsRelease(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		l, operator := open(t, s.Addr, protocol), open(t, s.Addr, protocol)
		var lost, released int
		for i := range 300 {
			lock := acquire(t, l, "n")
			broken := make(chan error, 1)
			go func() { broken <- operator.Break(context.Background(), "n") }()
			time.Sleep(time.Duration(i%30) * 100 * time.Microsecond) // so that either is first
			switch err := lock.Release(t.Context()); {
			case err == nil:
				released++
			case errors.Is(err, locker.ErrLost):
				lost++
			default:
				t.Fatal(err)
			}
			next := acquire(t, l, "n")
			if next.Token() <= lock.Token() {
				t.Fatalf("token %d after %d", next.Token(), lock.Token())
			}
			if err := <-broken; err != nil {
				t.Fatal(err)
			}
			if err := next.Release(t.Context()); err != nil && !errors.Is(err, locker.ErrLost) {
				t.Fatal(err)
			}
		}
		t.Logf("%d released, %d lost", released, lost)
		if info := inspect(t, operator, "n"); info.Held {
			t.Errorf("%+v, want it to be free", info)
		}
	})
}

// A holder that is frozen is disconnected.
func TestBreakOfAFrozenHolder(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		p := startChild(t, s.Addr)
		p.says("held")
		p.freeze()
		operator := openAlert(t, s.Addr, protocol)
		if err := operator.Break(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		release(t, acquire(t, operator, "n"))
		p.thaw()
		fmt.Fprintln(p.in)
		p.says("lost true")
	})
}

func TestBreakOfAFrozenHolderIsNotPermitted(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "operator", "on", ">password", "~*", "&*", "+@all", "-client|kill")
	p := startChild(t, s.Addr)
	p.says("held")
	p.freeze()
	operator := openWith(t, s.Client(userOptions("operator", 3)), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond})
	if err := operator.Break(t.Context(), "n"); !errors.Is(err, locker.ErrUnavailable) || !strings.Contains(err.Error(), "client|kill") {
		t.Errorf("%v, want one that says what is not permitted", err)
	}
	p.thaw()
}

// A foreign holder is disconnected by the name that portalocker gives to its connection,
// and nobody else is.
func TestBreakOfAForeignHolder(t *testing.T) {
	for name, killed := range map[string]bool{"n-lock": true, "n-lock-" + strings.Repeat("5", 32): true, "nn-lock": false, "": false} {
		s := redistest.Start(t)
		conn := s.Raw()
		if name != "" {
			conn.Do("CLIENT", "SETNAME", name)
		}
		conn.Do("SUBSCRIBE", "n")
		l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: 200 * time.Millisecond})
		if err := l.Break(t.Context(), "n"); (err == nil) != killed || !killed && !errors.Is(err, locker.ErrUnavailable) {
			t.Errorf("%q: %v", name, err)
		}
		if info := inspect(t, l, "n"); info.Held == killed {
			t.Errorf("%q: %+v", name, info)
		}
	}
}

func TestInspectAnUnreachableServer(t *testing.T) {
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

// A holder is asked for the lock, and keeps its others, also where n-holder tells of
// another hold than this one, or of none.
func TestBreakOfAHoldThatIsNotInTheHint(t *testing.T) {
	for how, hold := range map[string]func(*testing.T, *redistest.Server, *redislock.Locker) locker.Lock{
		"passed on": func(t *testing.T, _ *redistest.Server, l *redislock.Locker) locker.Lock {
			lock := acquire(t, l, "n")
			for range 3 {
				waits := &watched{Context: context.Background(), waits: make(chan struct{})}
				next := make(chan locker.Lock, 1)
				go func() {
					lock, err := l.Acquire(waits, "n", locker.WithTimeout(bound))
					if err != nil {
						t.Error(err)
					}
					next <- lock
				}()
				await(t, "the next one waits", waits.waits)
				release(t, lock)
				lock = <-next
			}
			return lock
		},
		"resumed": func(t *testing.T, _ *redistest.Server, l *redislock.Locker) locker.Lock {
			release(t, acquire(t, l, "n"))
			return acquire(t, l, "n")
		},
		"the hint is lost": func(t *testing.T, s *redistest.Server, l *redislock.Locker) locker.Lock {
			lock := acquire(t, l, "n")
			s.Do("FLUSHALL")
			return lock
		},
	} {
		t.Run(how, func(t *testing.T) {
			s := redistest.Start(t)
			l := openWith(t, s.Client(nil), lingers(time.Hour), locker.WithCheckInterval(time.Hour))
			kept := acquire(t, l, "kept")
			lock := hold(t, s, l)
			if err := open(t, s.Addr, 2).Break(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			await(t, "Done", lock.Done())
			if err := kept.Err(); err != nil {
				t.Errorf("the holder's other lock: %v", err)
			}
			release(t, kept)
		})
	}
}

// Inspect leaves alone what is not the library's.
func TestInspectLeavesOtherKeysAlone(t *testing.T) {
	s := redistest.Start(t)
	l := open(t, s.Addr, 3)
	s.Do("SADD", "jobs-queue", "a")
	s.Do("HSET", "jobs-holder", "a", "b")
	if info := inspect(t, l, "jobs"); info != (locker.Info{Name: "jobs"}) {
		t.Errorf("%+v, want it to be free", info)
	}
	if got := names(t, l); len(got) > 0 {
		t.Errorf("names %q", got)
	}
	for _, key := range []string{"jobs-queue", "jobs-holder"} {
		if ttl := s.Do("TTL", key); ttl != int64(-1) {
			t.Errorf("%s has the TTL %v, want it to be there, with none", key, ttl)
		}
	}
}

// A replica knows nothing of subscriptions, and no lock is called free there.
func TestInspectOnAReplica(t *testing.T) {
	s, replica := redistest.Start(t), redistest.Start(t)
	host, port, _ := strings.Cut(s.Addr, ":")
	replica.Do("REPLICAOF", host, port)
	acquire(t, open(t, s.Addr, 3), "n")
	poll(t, "the replica has the hint", func() bool { return replica.Do("EXISTS", "n-holder") == int64(1) })
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

// Close ends a Break that waits for a holder.
func TestCloseEndsABreak(t *testing.T) {
	s := redistest.Start(t)
	s.Raw().Do("SUBSCRIBE", "n") // it cannot be told whose it is
	l := openWith(t, s.Client(nil), &redislock.Options{UnavailableTimeout: time.Hour})
	broken := make(chan error, 1)
	go func() { broken <- l.Break(context.Background(), "n") }()
	poll(t, "Break has begun", func() bool {
		return strings.Contains(s.Do("INFO", "commandstats").(string), "cmdstat_client|list")
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-broken; !errors.Is(err, locker.ErrClosed) {
		t.Errorf("Break: %v, want ErrClosed", err)
	}
}

// A server that says nothing keeps nobody for longer than ctx.
func TestInspectASilentServer(t *testing.T) {
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
