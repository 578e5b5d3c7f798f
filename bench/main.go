// Bench measures this library and others that lock by name, side by side: in
// Redis, etcd, files and memory. It starts the servers that it needs, and ends them.
//
//	go -C bench run .
//	go -C bench run . -quick
//	go -C bench run . -run redis/hand-off -markdown ../BENCHMARKS.md
//
// In each round a workload runs with all contenders, one after the other, and each
// round begins with another one, so that what the machine does meanwhile hits all of
// them. It is a module of its own, so that the other libraries are not in the go.mod
// of this one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	if isChild() {
		signal.Ignore(os.Interrupt) // ctrl-C is the parent's business, which ends us
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var s settings
	var run string
	flag.StringVar(&run, "run", "", "run only the workloads whose name matches this `regexp`")
	flag.BoolVar(&s.quick, "quick", false, "take less than a minute, and tell less")
	flag.IntVar(&s.rounds, "rounds", 0, "how many rounds (default 5; with -quick 2, but 1 of what takes long)")
	flag.BoolVar(&s.list, "list", false, "list the workloads and what they mean, and run none")
	flag.StringVar(&s.markdown, "markdown", "", "write the tables to this `file`, too")
	flag.StringVar(&s.json, "json", "", "write the figures to this `file`, too")
	flag.StringVar(&s.svg, "svg", "", "write a bar chart of the medians to this `file`, too")
	flag.Parse()
	var err error
	if s.run, err = regexp.Compile(run); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -run:", err)
	}
	if err != nil || flag.NArg() > 0 || s.rounds < 0 {
		flag.Usage()
		os.Exit(2)
	}
	if s.rounds == 0 {
		s.rounds = 5
		if s.quick {
			s.rounds = 2
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = bench(ctx, s, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type settings struct {
	run                 *regexp.Regexp
	quick, list         bool
	rounds              int
	markdown, json, svg string // files; empty: none
}

// bench runs the chosen workloads and writes what it has measured. Where this library
// has failed, it writes the rest, and the error says so.
func bench(ctx context.Context, s settings, out, progress io.Writer) error {
	chosen := choose(s)
	if len(chosen) == 0 {
		return fmt.Errorf("no workload matches %q (-list lists those of a run with these flags)", s.run)
	}
	if s.list {
		for _, w := range chosen {
			if _, err := fmt.Fprintf(out, "%s\n    %s\n", w.name, w.about); err != nil {
				return err
			}
		}
		return nil
	}
	l, err := openLab(ctx, s, progress)
	if err != nil {
		return err
	}
	defer l.close()
	r := newReport(s, l)
	failed := l.run(ctx, chosen, r)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.summarize()
	return errors.Join(failed, r.text(out), r.write(s))
}

func choose(s settings) []workload {
	var chosen []workload
	for _, w := range workloads() {
		if s.run.MatchString(w.name) && (!w.full || !s.quick) {
			chosen = append(chosen, w)
		}
	}
	return chosen
}
