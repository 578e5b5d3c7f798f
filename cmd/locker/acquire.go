package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// inspectTimeout bounds how long somebody waits to hear who holds a lock.
const inspectTimeout = 2 * time.Second

// acquire waits for the lock, as long as the options say, and no signal ends it.
func (r *run) acquire(ctx context.Context, signals <-chan os.Signal, timed bool) (locker.Lock, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &waiting{program: r.program, name: r.name}
	var ended os.Signal
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case s := <-signals:
				if ends(s) {
					ended = s
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	locks, lock, err := r.acquireOf(ctx, w, timed)
	cancel()
	watch.Wait()
	w.end()
	switch {
	case ended != nil:
		if lock != nil {
			_ = lock.Release(context.Background()) // what ends the program is told by its status
		}
		return nil, &exitError{status: statusSignal + number(ended)}
	case errors.Is(err, locker.ErrAlreadyLocked):
		if r.quiet {
			return nil, &exitError{status: r.statusConflict}
		}
		text := fmt.Sprintf("%s is held by %s", quoted(r.name), inspect(locks, r.name).holder(time.Now()))
		if _, gaveUp, ok := strings.Cut(err.Error(), locker.ErrAlreadyLocked.Error()+": "); ok {
			text += ": " + gaveUp // after how long: that may be in the URL
		}
		return nil, &exitError{r.statusConflict, errors.New(text)}
	}
	return lock, err
}

func (r *run) acquireOf(ctx context.Context, w *waiting, timed bool) (locker.Locker, locker.Lock, error) {
	locks, err := r.open(ctx, locker.WithTimeout(locker.NoTimeout), locker.WithTrace(&locker.Trace{Waiting: w.begin}))
	if err != nil {
		return nil, nil, err
	}
	w.locks = locks
	var opts []locker.Option
	switch {
	case timed:
		opts = append(opts, locker.WithTimeout(r.timeout), locker.WithFailWhenLocked(false))
	case r.noWait:
		opts = append(opts, locker.WithTimeout(0))
	case r.wait:
		opts = append(opts, locker.WithTimeout(locker.NoTimeout), locker.WithFailWhenLocked(false))
	}
	lock, err := locks.Acquire(ctx, r.name, opts...)
	return locks, lock, err
}

// A sight is what could be seen of a lock.
type sight struct {
	locker.Info
	err error // why there is no Info
}

// inspect looks at a lock that somebody else holds.
func inspect(locks locker.Locker, name string) sight {
	ctx, cancel := context.WithTimeout(context.Background(), inspectTimeout)
	defer cancel()
	return inspectCtx(ctx, locks, name)
}

func inspectCtx(ctx context.Context, locks locker.Locker, name string) sight {
	i, ok := locks.(locker.Inspector)
	if !ok {
		return sight{err: errors.ErrUnsupported}
	}
	info, err := i.Inspect(ctx, name)
	return sight{info, err}
}

// text says what could be seen of a lock that somebody waits for.
func (s sight) text(now time.Time) string {
	switch {
	case s.err != nil && !errors.Is(s.err, errors.ErrUnsupported):
		return fmt.Sprintf("who holds it is not known: %v", cause(s.err))
	case s.err == nil && !s.Held:
		return "nobody holds it just now"
	default:
		return "held by " + s.holder(now)
	}
}

// holder says who holds a lock, and since when.
func (s sight) holder(now time.Time) string {
	h := s.Holder
	text := "another"
	switch {
	case s.err != nil || !s.Held:
		return text
	case h.PID != 0 && h.Host != "":
		text = fmt.Sprintf("pid %d on %s", h.PID, h.Host)
	case h.PID != 0:
		text = fmt.Sprintf("pid %d", h.PID)
	case h.ID != "":
		text = h.ID
	}
	if since := since(h.Since, now); since != "" {
		text += " since " + since
	}
	return text
}
