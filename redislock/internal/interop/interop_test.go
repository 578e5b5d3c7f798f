package interop

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/internal/redistest"
)

// pairs runs f with a process of this library and one of portalocker, of each kind,
// in both roles.
func pairs(t *testing.T, f func(t *testing.T, s *redistest.Server, holder, contender *party)) {
	for _, o := range ours {
		for _, f2 := range foreign {
			for _, roles := range [][2]string{{o, f2}, {f2, o}} {
				t.Run(roles[0]+" before "+roles[1], func(t *testing.T) {
					t.Parallel()
					s := redistest.Start(t)
					f(t, s, start(t, roles[0], s.Addr), start(t, roles[1], s.Addr))
				})
			}
		}
	}
}

// While one holds the lock the other does not get it, and is told so in time; and
// gets it when the one releases it, is killed, or when the server was restarted.
func TestExclusion(t *testing.T) {
	t.Parallel()
	pairs(t, func(t *testing.T, s *redistest.Server, holder, contender *party) {
		holder.acquire()
		const timeout = 600 * time.Millisecond
		if took := contender.refused(timeout); took < timeout {
			t.Errorf("refused after %v already", took)
		}
		contender.begin()
		waits(t, s, contender)
		holder.release()
		began := time.Now()
		contender.held()
		t.Log("after the release:", time.Since(began))
		holder.refused(0)
		contender.release()

		holder.acquire()
		contender.begin()
		waits(t, s, contender)
		holder.kill()
		began = time.Now()
		contender.held()
		t.Log("after SIGKILL:", time.Since(began))
		contender.release()

		other := start(t, holder.kind, s.Addr)
		other.acquire()
		contender.refused(0)
		other.release()
		contender.acquire()
		contender.release()
		contender.exit()
		other.exit()
	})
}

// waits waits until a process that acquires the lock has met the one that holds it.
func waits(t *testing.T, s *redistest.Server, contender *party) {
	t.Helper()
	heard := s.Client(nil).PSubscribe(t.Context(), "[n]") // a pattern, which counts as no subscriber
	defer heard.Close()
	select {
	case <-heard.Channel(): // its ping
	case <-time.After(bound):
		t.Fatalf("%s does not ask who holds the lock", contender.kind)
	}
}

// Who held a lock when the server was restarted does not keep it from the other.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, kind := range foreign {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			holder, contender := start(t, goRESP3, s.Addr), start(t, kind, s.Addr)
			holder.acquire()
			contender.refused(0)
			s.Kill()
			s.Restart()
			holder.tell("err")
			if told := holder.next(); told != "lost true" {
				t.Errorf("the holder says %q after the restart", told)
			}
			if kind == python {
				contender = start(t, kind, s.Addr) // its connections do not survive
			}
			contender.acquire()
			holder.refused(0)
			contender.release()
		})
	}
}

// Tokens grow, whoever has the lock.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := start(t, goNamed, s.Addr), start(t, peer42, s.Addr)
	last := 0
	for i := range 6 {
		p := []*party{a, b}[i%2]
		token := p.acquire()
		if token <= last {
			t.Errorf("%s got the token %d, after %d", p.kind, token, last)
		}
		last = token
		p.release()
	}
}

// Processes of both count, together: no increment is lost, and nobody waits for ever.
func TestMixedFleet(t *testing.T) {
	t.Parallel()
	for _, fleet := range [][]string{{goRESP3, goRESP2, goNamed, python, python, python}, {goRESP3, goNamed, goRESP2, python, peer40, peer42}} {
		t.Run(fmt.Sprint(len(fleet)), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			each := 100
			if testing.Short() {
				each = 10
			}
			var counting sync.WaitGroup
			total := 0
			for _, kind := range fleet {
				p := start(t, kind, s.Addr)
				times := each
				if kind == peer40 || kind == peer42 {
					times = each / 10 // slow
				}
				total += times
				counting.Go(func() {
					began := time.Now()
					p.tell("count %d", times)
					longest := p.expect("counted")
					t.Logf("%s: %v, longest wait %s ms", kind, time.Since(began), longest[0])
					p.exit()
				})
			}
			counting.Wait()
			if got := s.Do("GET", "counter"); got != strconv.Itoa(total) {
				stats, _ := s.Do("INFO", "commandstats").(string)
				_, kills, _ := strings.Cut(stats, "cmdstat_client|kill:")
				kills, _, _ = strings.Cut(kills, "\r")
				t.Errorf("counted %v, want %d; connections cut: %s", got, total, kills)
			}
		})
	}
}

// Processes of this library that want a lock all the time leave it to those of
// portalocker, which do not queue, often enough: about once a second to each.
func TestYield(t *testing.T) {
	t.Parallel()
	const lasts = 6
	s := redistest.Start(t)
	var running sync.WaitGroup
	for _, kind := range ours {
		p := start(t, kind, s.Addr)
		running.Go(func() {
			p.tell("busy %d 1ms", lasts+1)
			p.expect("done")
		})
	}
	for range 3 {
		p := start(t, python, s.Addr)
		running.Go(func() {
			p.tell("want %d", lasts)
			got := p.expect("got")
			t.Logf("%s: %s times, longest wait %s ms", p.kind, got[0], got[1])
			if n, _ := strconv.Atoi(got[0]); n < lasts {
				t.Errorf("%s got the lock %d times in %d s", p.kind, n, lasts)
			}
			p.exit()
		})
	}
	running.Wait()
}

// Those of version 4 take long for an attempt, which the least change on the channel
// spoils. Processes of this library that want a lock all the time leave it to them for
// long enough: each of 20 tries has it within 8 s.
func TestYieldToVersion4(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for _, kind := range []string{peer40, peer42, python4, python4Shared} {
		t.Run(kind, func(t *testing.T) {
			if (kind == python4 || kind == python4Shared) && os.Getenv(portalocker4) == "" {
				t.Skip("no portalocker 4: " + portalocker4 + " is not set")
			}
			for i := range 4 {
				t.Run(strconv.Itoa(i+1), func(t *testing.T) {
					t.Parallel()
					s := redistest.Start(t)
					for range 2 {
						start(t, goRESP3, s.Addr).tell("busy 60 200ms")
					}
					p := start(t, kind, s.Addr)
					p.tell("tries 5 8s")
					p.patience = 5 * (8*time.Second + bound)
					got := p.expect("got")
					t.Logf("%s times of 5, longest wait %s ms", got[0], got[1])
					if got[0] != "5" {
						t.Errorf("%s got the lock %s times of 5", kind, got[0])
					}
					p.exit()
				})
			}
		})
	}
}

// A holder keeps its lock however many ask whether it is there, gives each ping no
// more than one answer, and those who ask come to no harm by it.
func TestPings(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	holder := start(t, goRESP3, s.Addr)
	holder.acquire()
	answers := make(map[string]int)
	heard := s.Client(nil).PSubscribe(t.Context(), "n-*")
	if _, err := heard.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	messages := heard.Channel(redis.WithChannelSize(100_000))
	waiters := make([]*party, 8)
	for i := range waiters {
		waiters[i] = start(t, python, s.Addr)
		waiters[i].tell("acquire %f", pingsFor.Seconds())
	}
	for _, p := range waiters {
		p.expect("locked")
		p.exit()
	}
	holder.release() // what it has answered before is published
	holder.exit()
	for s.Do("PUBLISH", "n-end", ""); ; {
		m := <-messages
		if m.Channel == "n-end" {
			break
		}
		if answers[m.Channel]++; answers[m.Channel] > 1 {
			t.Errorf("another answer on %s: %q", m.Channel, m.Payload)
		}
	}
	t.Logf("%d answers in %v", len(answers), *pingsFor)
	if len(answers) < len(waiters) {
		t.Errorf("%d answers to %d waiters", len(answers), len(waiters))
	}
}

// A process of portalocker that is frozen with the lock is disconnected, and nobody
// else, however alike its name is.
func TestFrozenForeignHolder(t *testing.T) {
	t.Parallel()
	for _, kind := range foreign {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			alike := subscribers(t, s)
			holder, contender := start(t, kind, s.Addr), start(t, goRESP3, s.Addr)
			holder.acquire()
			freeze(t, holder)
			began := time.Now()
			contender.acquire()
			t.Log("after", time.Since(began))
			contender.release()
			uncut(t, alike)
		})
	}
}

// A process of this library that is frozen with the lock is disconnected by those
// that wait with portalocker, if it has asked for that; and knows when it goes on.
func TestFrozenHolderWithPortalockerName(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{peer40, peer42, goRESP3, goNamed} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			alike := subscribers(t, s)
			holder, contender := start(t, goNamed, s.Addr), start(t, kind, s.Addr)
			bystander := start(t, goNamed, s.Addr)
			holder.acquire()
			bystander.begin() // it has the name, too, and only waits
			waits(t, s, bystander)
			freeze(t, holder)
			began := time.Now()
			contender.begin()
			next, last := either(t, bystander, contender)
			t.Log("after", time.Since(began))
			next.release()
			last.held()
			thaw(t, holder)
			holder.tell("err")
			if told := holder.next(); told != "lost true" {
				t.Errorf("the holder says %q when it goes on", told)
			}
			last.release()
			uncut(t, alike)
		})
	}
}

// either waits until one of two that wait for the lock has it.
func either(t *testing.T, a, b *party) (holds, waits *party) {
	t.Helper()
	says, holds, waits := "", a, b
	select {
	case says = <-a.says:
	case says = <-b.says:
		holds, waits = b, a
	case <-time.After(bound):
	}
	if !strings.HasPrefix(says, "held") {
		t.Fatalf("%s says %q, want it to hold the lock", holds.kind, says)
	}
	return holds, waits
}

// subscribers opens connections with names that are almost those of portalocker, and
// returns by name what is closed when one is cut.
func subscribers(t *testing.T, s *redistest.Server) map[string]<-chan struct{} {
	cut := make(map[string]<-chan struct{})
	for _, name := range []string{
		"n-lock-", "n-lock2", "n-locks", "n-lock-reader", "n-lock-" + strings.Repeat("a", 31), "n-lock-" + strings.Repeat("a", 33),
		"n-lock-" + strings.Repeat("A", 32), "n", "n-", "nn-lock", "n-lock-lock", "m-lock-" + strings.Repeat("a", 32),
	} {
		c := s.Raw()
		c.Do("CLIENT", "SETNAME", name)
		c.Do("SUBSCRIBE", "elsewhere")
		for range 5 {
			_, _ = c.Read() // the rest of the confirmation
		}
		done := make(chan struct{})
		cut[name] = done
		go func() {
			_, _ = c.Read()
			close(done)
		}()
	}
	return cut
}

// uncut checks that none of those connections was cut.
func uncut(t *testing.T, connections map[string]<-chan struct{}) {
	t.Helper()
	for name, done := range connections {
		select {
		case <-done:
			t.Errorf("the connection %q was cut", name)
		default:
		}
	}
}

// A flood of pings, good and bad, costs the holder neither its lock nor the answers
// to those who wait, and is answered in a bounded way.
func TestFlood(t *testing.T) {
	t.Parallel()
	for _, kind := range ours {
		t.Run(kind, func(t *testing.T) {
			s := redistest.Start(t)
			holder, contender := start(t, kind, s.Addr), start(t, goRESP3, s.Addr)
			holder.acquire()
			contender.begin()
			var published atomic.Int64
			done := make(chan struct{})
			go func() {
				defer close(done)
				c := s.Client(nil)
				// 10,000 a second, as far as the machine can.
				for tick, i := time.NewTicker(10*time.Millisecond), 0; i < 200; i++ {
					<-tick.C
					pipe := c.Pipeline()
					for j := range 100 {
						text := fmt.Sprintf(`{"response_channel": "n-0.%d", "message": "ping"}`, 100*i+j)
						switch j % 4 {
						case 1:
							text = strings.Repeat("[", 200)
						case 2:
							text = `{"response_channel": "victim"}`
						case 3:
							text = `{"response_channel": "n-` + randomHex() + `"}`
						}
						pipe.Publish(t.Context(), "n", text)
					}
					if _, err := pipe.Exec(t.Context()); err != nil {
						return
					}
					published.Add(100)
				}
			}()
			victim := s.Client(nil).Subscribe(t.Context(), "victim")
			defer victim.Close()
			messages := victim.Channel()
			select {
			case <-done:
			case <-time.After(bound):
				t.Fatal("the flood does not end")
			}
			t.Logf("%d messages", published.Load())
			holder.tell("err")
			if told := holder.next(); told != "lost false" {
				t.Errorf("the holder says %q", told)
			}
			holder.release()
			contender.held()
			select {
			case m := <-messages:
				t.Errorf("published on the channel of another: %q", m.Payload)
			default:
			}
		})
	}
}
