package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A lab is where the workloads run.
type lab struct {
	settings
	places
	progress io.Writer
	began    time.Time

	redis    *redis.Client // to look at the server; nil: there is none
	versions []string      // of the servers
	skipped  []string      // what is not measured, and why
	servers  []*server
	dirs     int // made so far
}

// openLab starts the servers.
func openLab(ctx context.Context, s settings, progress io.Writer) (_ *lab, err error) {
	l := &lab{settings: s, progress: progress, began: time.Now()}
	if l.Dir, err = os.MkdirTemp("", "locker-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, e := range []struct {
		program string
		start   func(dir string) (*server, error)
		addr    *string
		what    string
	}{
		{"redis-server", startRedis, &l.Redis, "the workloads on Redis"},
		{"etcd", startEtcd, &l.Etcd, "the peer etcd"},
	} {
		server, err := e.start(l.Dir)
		switch {
		case errors.Is(err, errMissing):
			l.skipped = append(l.skipped, fmt.Sprintf("%s: %v", e.what, err))
			continue
		case err != nil:
			return nil, err
		}
		l.servers = append(l.servers, server)
		l.versions = append(l.versions, version(ctx, e.program))
		*e.addr = server.addr
	}
	if l.Redis != "" {
		l.redis = newRedisClient(l.places)
	}
	if len(processors()) < 2 {
		l.skipped = append(l.skipped, "client and server kept on certain processors: this process cannot choose between two")
	}
	return l, nil
}

func (l *lab) close() {
	if l.redis != nil {
		_ = l.redis.Close()
	}
	for _, s := range l.servers {
		s.kill()
	}
	_ = os.RemoveAll(l.Dir)
}

// run runs the workloads. A peer that fails is left out from then on, and the report
// says so; when this library fails, the error does.
func (l *lab) run(ctx context.Context, chosen []workload, r *report) error {
	var failed []error
	for _, w := range chosen {
		var present []contender
		for _, c := range w.contenders() {
			if l.has(c.place) {
				present = append(present, c)
			}
		}
		if len(present) == 0 || present[0].name != ours {
			continue // there is nothing to compare with; skipped says why
		}
		out := map[string]bool{}
		for round := range l.roundsOf(w) {
			turn := rotate(present, round)
			if w.together {
				failed = append(failed, l.together(ctx, w, turn, round, r, out)...)
			} else {
				failed = append(failed, l.inTurn(ctx, w, turn, round, r, out)...)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return errors.Join(failed...)
}

func (l *lab) roundsOf(w workload) int {
	if w.slow && l.quick {
		return 1
	}
	return l.rounds
}

// rotate returns the contenders in the order of a round.
func rotate(all []contender, round int) []contender {
	n := round % len(all)
	return append(append([]contender(nil), all[n:]...), all[:n]...)
}

// inTurn measures one contender after the other. Those in out have failed before, and
// are left out.
func (l *lab) inTurn(ctx context.Context, w workload, turn []contender, round int, r *report, out map[string]bool) (failed []error) {
	for _, c := range turn {
		if out[c.name] || ctx.Err() != nil {
			continue
		}
		l.tell(w, round, c.name)
		before := currentUsage()
		m, err := l.measure(ctx, w, c)
		load, known := others(before, currentUsage())
		if err == nil {
			r.add(w, c, round, m, known && load > otherLoad)
		} else if ctx.Err() == nil {
			out[c.name] = true
			failed = append(failed, r.fail(w, c, err))
		}
	}
	return failed
}

// together measures all contenders at once.
func (l *lab) together(ctx context.Context, w workload, turn []contender, round int, r *report, out map[string]bool) (failed []error) {
	l.tell(w, round, "all at once")
	if l.redis != nil {
		l.redis.FlushAll(ctx)
	}
	before := currentUsage()
	results, errs := make([]*measured, len(turn)), make([]error, len(turn))
	var all sync.WaitGroup
	for i, c := range turn {
		if out[c.name] {
			continue
		}
		p, err := l.fresh()
		if err != nil {
			return append(failed, err)
		}
		all.Go(func() { results[i], errs[i] = bounded(ctx, l, w, c, p) })
	}
	all.Wait()
	load, known := others(before, currentUsage())
	for i, c := range turn {
		switch {
		case results[i] != nil && errs[i] == nil:
			r.add(w, c, round, results[i], known && load > otherLoad)
		case errs[i] != nil && ctx.Err() == nil:
			out[c.name] = true
			failed = append(failed, r.fail(w, c, errs[i]))
		}
	}
	return failed
}

func (l *lab) tell(w workload, round int, what string) {
	_, _ = fmt.Fprintf(l.progress, "%6.1f s  %s: round %d of %d: %s\n", time.Since(l.began).Seconds(), w.name, round+1, l.roundsOf(w), what)
}

// measure runs a workload with a contender, in a place where nobody was before.
func (l *lab) measure(ctx context.Context, w workload, c contender) (*measured, error) {
	if l.redis != nil {
		if err := l.redis.FlushAll(ctx).Err(); err != nil {
			return nil, err
		}
	}
	p, err := l.fresh()
	if err != nil {
		return nil, err
	}
	return bounded(ctx, l, w, c, p)
}

// bounded runs a workload with a contender that may never finish.
func bounded(ctx context.Context, l *lab, w workload, c contender, p places) (*measured, error) {
	limit := pick(l, 30*time.Second, 5*time.Second)
	if w.together {
		limit = 3 * time.Minute // a TTL may be long, and all share the time
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	m, err := w.measure(ctx, l, c, p)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return m, err
}

// fresh returns the places, with an empty directory.
func (l *lab) fresh() (places, error) {
	p := l.places
	l.dirs++
	p.Dir = filepath.Join(l.Dir, fmt.Sprint("locks-", l.dirs))
	return p, os.Mkdir(p.Dir, 0o700)
}

// pick returns the first of two, or the second with -quick.
func pick[T any](l *lab, full, quick T) T {
	if l.quick {
		return quick
	}
	return full
}

// A measured is what a contender has done in a round.
type measured struct {
	metrics []metric // in the order in which they were first added
	values  map[metric][]float64
}

// A metric is what a value is of.
type metric struct {
	name string
	unit unit
}

type unit string

const (
	seconds   unit = "s"
	perSecond unit = "per second" // the only one where more is better
	count     unit = "count"
	bytesUsed unit = "bytes"
)

func (m *measured) add(name string, u unit, values ...float64) {
	k := metric{name, u}
	if m.values == nil {
		m.values = map[metric][]float64{}
	}
	if _, ok := m.values[k]; !ok {
		m.metrics = append(m.metrics, k)
	}
	m.values[k] = append(m.values[k], values...)
}

func (m *measured) took(name string, d time.Duration) { m.add(name, seconds, d.Seconds()) }
