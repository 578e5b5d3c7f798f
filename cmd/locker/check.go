package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/golocker/locker"
)

// testLock is the name, after a prefix, of the lock that check takes and frees. It is
// always the same, so that there is one file of it.
const testLock = ".locker-check"

func (p *program) checkCommand() *cli.Command {
	var prefix string
	return &cli.Command{
		Name:      "check",
		Usage:     "connect, tell what the locks can do, and try one",
		UsageText: "locker check [--prefix PREFIX]",
		Description: "Tells what the backend promises, takes and frees a lock called PREFIX" + testLock + ", and on Redis\n" +
			"tries the commands that locks need, without harm, and tells which of them are denied.\n" +
			"The status is 0 if locks can be had, also if what is optional is missing, else 69.",
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "prefix", Usage: "how the names of the locks begin, where an ACL permits no others", Destination: &prefix,
		}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usage("unknown argument %q; see %s --help", cmd.Args().First(), cmd.FullName())
			}
			return p.check(ctx, prefix+testLock)
		},
	}
}

// check tells what can be known of the locks without disturbing anybody.
func (p *program) check(ctx context.Context, name string) error {
	c, err := p.choose(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Locker.Close() }()
	r := &report{w: tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0), quiet: p.quiet}
	r.line("locks", c.URL)
	for _, can := range capabilities(c.Backend) {
		r.line(can.what, can.text)
	}
	failed := r.tryLock(ctx, c.Locker, name)
	if c.Redis != nil {
		denied := r.permissions(ctx, c.Redis, name)
		if denied != nil {
			failed = denied // it names all that is missing
		}
	}
	if err := r.w.Flush(); err != nil {
		return err
	}
	return failed
}

// A report is what check tells.
type report struct {
	w     *tabwriter.Writer
	quiet bool
}

func (r *report) line(what, text string) {
	if !r.quiet {
		_, _ = fmt.Fprintf(r.w, "%s\t%s\n", what, oneLine(text))
	}
}

// tryLock takes a lock that nobody else has a use for, looks at it and frees it.
func (r *report) tryLock(ctx context.Context, locks locker.Locker, name string) error {
	began := time.Now()
	lock, err := locks.Acquire(ctx, name, locker.WithTimeout(0))
	if errors.Is(err, locker.ErrAlreadyLocked) {
		err = &exitError{statusRefused, fmt.Errorf("%s is held by %s: by another check?", quoted(name), inspect(locks, name).holder(time.Now()))}
	}
	if err != nil {
		r.line("test lock", "not to be had: "+err.Error())
		return err
	}
	took := time.Since(began)
	seen := inspect(locks, name)
	began = time.Now()
	if err := lock.Release(ctx); err != nil {
		r.line("test lock", "taken, but not given back: "+err.Error())
		return err
	}
	r.line("test lock", fmt.Sprintf("%s taken in %s and freed in %s, token %d", quoted(name), milliseconds(took), milliseconds(time.Since(began)), lock.Token()))
	switch {
	case errors.Is(seen.err, errors.ErrUnsupported):
		r.line("status", "no: the backend cannot tell who holds a lock")
	case seen.err != nil:
		r.line("status", "no: "+seen.err.Error())
	case !seen.Held:
		r.line("status", "no: the test lock was held, and shown as free")
	default:
		r.line("status", "yes: the test lock was shown as held by "+seen.holder(time.Now()))
	}
	return nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// A capability is something that users of a backend have to know.
type capability struct{ what, text string }

// capabilities returns what the documentation of the backend promises. It is the same on
// all servers and file systems that are supported, and not tried here.
func capabilities(backend string) []capability {
	switch backend {
	case "file":
		return []capability{
			{"crash-safe", "yes: the kernel frees the lock with its process"},
			{"across machines", "no: the processes of one machine, on a local disk"},
			{"order", "none between processes"},
			{"tokens", "yes: they grow, also when the file was deleted, as the clock does"},
			{"wake-ups", "on Linux, by the kernel; elsewhere a waiter looks every check interval"},
			{"hung holder", "keeps the lock"},
			{"loss", "when the lock file is deleted or replaced, noticed within a check interval"},
		}
	case "memory":
		return []capability{
			{"crash-safe", "yes: nothing remains"},
			{"across machines", "no: not even across processes; for tests"},
			{"order", "first come, first served"},
			{"tokens", "yes: they grow, also over restarts, as the clock does"},
			{"wake-ups", "yes"},
			{"hung holder", "keeps the lock"},
			{"loss", "by locker break alone, from within the process"},
		}
	default:
		return []capability{
			{"crash-safe", "yes: Redis frees the lock when the connection ends"},
			{"across machines", "yes: all that use this Redis, in any of its databases: their number does not separate locks"},
			{"order", "first come, first served"},
			{"tokens", "yes: they grow, also over FLUSHALL, as the clock of Redis does"},
			{"wake-ups", "yes: by messages"},
			{"hung holder", "is disconnected after unavailable_timeout, if client|list and client|kill are permitted"},
			{"loss", "when the connection ends, or Redis restarts or fails over; told at once"},
		}
	}
}
