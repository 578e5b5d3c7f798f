package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/golocker/locker"
)

// statusRefused is the exit status of a break that somebody did not want after all.
const statusRefused = 1

func (p *program) breakCommand() *cli.Command {
	var yes bool
	return &cli.Command{
		Name:      "break",
		Usage:     "take a lock from its holder, who is told",
		UsageText: "locker break [--yes] NAME",
		Description: "Shows who holds the lock, and asks, if standard input is a terminal; else --yes has to\n" +
			"be given. What the holder does under the lock goes on until it looks: locker run ends\n" +
			"its command, as --on-loss says.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask", Destination: &yes}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			name, err := oneName(cmd)
			if err != nil {
				return err
			}
			return p.breakLock(ctx, name, yes)
		},
	}
}

// breakLock takes a lock from its holder, if that is wanted.
func (p *program) breakLock(ctx context.Context, name string, yes bool) error {
	_, asks := terminal(os.Stdin)
	if !yes && !asks {
		return usage("standard input is no terminal to ask on whether to break %s; want --yes", quoted(name))
	}
	locks, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = locks.Close() }()
	inspector, ok := locks.(locker.Inspector)
	if !ok {
		return errors.New("these locks cannot be broken")
	}
	seen, err := inspector.Inspect(ctx, name)
	if err != nil {
		return err
	}
	if !seen.Held {
		fmt.Printf("%s is free\n", quoted(name))
		return nil
	}
	who := sight{Info: seen}.holder(time.Now())
	if !yes {
		if !confirm(fmt.Sprintf("%s is held by %s. Take it away? [y/N] ", quoted(name), oneLine(who))) {
			return &exitError{statusRefused, fmt.Errorf("%s was left to its holder", quoted(name))}
		}
		now, err := inspector.Inspect(ctx, name)
		if err != nil {
			return err
		}
		if !now.Held {
			fmt.Printf("%s is free by now\n", quoted(name))
			return nil
		}
		if now.Holder.Token != seen.Holder.Token {
			return &exitError{statusRefused, fmt.Errorf("%s was left to its holder, who is another now: %s", quoted(name), sight{Info: now}.holder(time.Now()))}
		}
	}
	if err := p.breakNow(ctx, inspector, name); err != nil {
		return err
	}
	if !p.quiet {
		fmt.Printf("%s was taken from %s\n", quoted(name), oneLine(who))
	}
	return nil
}

// breakNow takes the lock away. A signal ends the wait for its holder, and not what keeps
// others out for so long: that ends with the Locker.
func (p *program) breakNow(ctx context.Context, inspector locker.Inspector, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.signals = catch()
	signals := p.signals.wait()
	broken := make(chan error, 1)
	go func() { broken <- inspector.Break(ctx, name) }()
	for {
		select {
		case err := <-broken:
			return err
		case s := <-signals:
			if ends(s) {
				cancel()
				if err := <-broken; err == nil {
					return nil // it was done already
				}
				return &exitError{statusSignal + number(s), fmt.Errorf("%s is taken away, and its holder may not know yet", quoted(name))}
			}
		}
	}
}

// confirm asks on the terminal.
func confirm(question string) bool {
	fmt.Fprint(os.Stderr, question)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // none is no
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
