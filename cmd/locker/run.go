package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"
)

// What --on-loss may say.
const (
	onLossTerm   = "term"
	onLossKill   = "kill"
	onLossIgnore = "ignore"
)

// The environment of the command.
const (
	envName  = "LOCKER_NAME"
	envToken = "LOCKER_TOKEN"
	// envRun has the cookies of the runs that the command is part of, with colons
	// between: a run within a run appends its own.
	envRun = "LOCKER_RUN"
)

// A run is a command that runs while a lock is held.
type run struct {
	*program
	name    string
	command []string
	path    string // of the command's file
	cookie  string // what the processes of this run are known by

	timeout        time.Duration
	noWait         bool
	wait           bool
	onLoss         string
	grace          time.Duration
	statusConflict int
	statusLost     int
}

func (p *program) runCommand() *cli.Command {
	r := &run{program: p}
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command while a lock is held",
		UsageText: "locker run [options] NAME [options] -- COMMAND [ARGS...]",
		Description: "Waits for the lock, without limit unless --timeout or --no-wait is given, runs the\n" +
			"command, and gives the lock back when it and what it has started have ended (but for\n" +
			"daemons, which have a session of their own). All after -- is the command. Its\n" +
			"exit status is that of locker, 128+n if signal n has ended it; own ones are 1 (another\n" +
			"holds the lock), 2 (usage), 69 (locks cannot be reached), 75 (the lock was lost), 126\n" +
			"(the command cannot be executed) and 127 (it was not found). Signals are passed on to\n" +
			"the command and what it has started; what runs on for --grace after SIGTERM is killed.\n" +
			"The command has LOCKER_NAME and LOCKER_TOKEN in its environment.",
		Flags: []cli.Flag{
			statusFlag("conflict-exit-code", "E", "the exit `STATUS` when another holds the lock", 1, &r.statusConflict),
			statusFlag("lost-exit-code", "L", "the exit `STATUS` when the lock was lost", 75, &r.statusLost),
			&cli.StringFlag{
				Name: "on-loss", Usage: "when the lock is lost, `ACTION`: term (SIGTERM, and SIGKILL after --grace), kill (SIGKILL), or ignore (only tell; the status is the command's)",
				Value: onLossTerm, Destination: &r.onLoss,
				Validator: func(s string) error {
					if !slices.Contains([]string{onLossTerm, onLossKill, onLossIgnore}, s) {
						return errors.New("want term, kill or ignore")
					}
					return nil
				},
			},
			&cli.DurationFlag{Name: "grace", Usage: "how long a command may take to end after SIGTERM or a loss, before SIGKILL", Value: 10 * time.Second, Destination: &r.grace, Validator: notNegative},
		},
		MutuallyExclusiveFlags: []cli.MutuallyExclusiveFlags{{Flags: [][]cli.Flag{
			{&cli.DurationFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "wait no longer than `D`, like 30s", Destination: &r.timeout, Validator: notNegative, HideDefault: true}},
			{&cli.BoolFlag{Name: "no-wait", Aliases: []string{"n"}, Usage: "do not wait", Destination: &r.noWait}},
			{&cli.BoolFlag{Name: "wait", Usage: "wait without limit (the default, unless the URL has a timeout)", Destination: &r.wait}},
		}}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			var err error
			if r.name, r.command, err = commandLine(p.args, cmd.Args().Slice()); err != nil {
				return err
			}
			return r.do(ctx, cmd.IsSet("timeout"))
		},
	}
}

func notNegative(d time.Duration) error {
	if d < 0 {
		return errors.New("it must not be negative")
	}
	return nil
}

// commandLine returns the name of the lock and the command. The parser has taken out
// of args, but not of all, the first "--": what follows it is left as it was.
func commandLine(all, args []string) (name string, command []string, err error) {
	const want = "want locker run [options] NAME -- COMMAND [ARGS...]"
	i := slices.Index(all, "--")
	after := len(all) - i - 1
	switch {
	case i < 0:
		return "", nil, usage("there is no -- before the command; %s", want)
	case len(args) == after && after > 1 && args[1] == "--": // run -- -NAME -- COMMAND
		name, command = args[0], args[2:]
	case len(args) == after+1:
		name, command = args[0], args[1:]
	case len(args) == after:
		return "", nil, usage("there is no name of a lock before --; %s", want)
	default:
		return "", nil, usage("there is more than one name before --; %s", want)
	}
	if len(command) == 0 {
		return "", nil, usage("there is no command after --; %s", want)
	}
	return name, command, nil
}

// do runs the command under the lock.
func (r *run) do(ctx context.Context, timed bool) error {
	var err error
	if r.path, err = find(r.command[0]); err != nil {
		return err
	}
	if r.signals == nil {
		r.signals = catch()
	}
	signals := r.signals.wait()
	lock, err := r.acquire(ctx, signals, timed)
	if err != nil {
		return err
	}
	return r.under(ctx, lock, signals)
}

// find returns the path of a command.
func find(command string) (string, error) {
	path, err := exec.LookPath(command)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", &exitError{statusNotFound, fmt.Errorf("%s: command not found", command)}
	default:
		return "", &exitError{statusNotExecutable, fmt.Errorf("%s: %w", command, reason(err))}
	}
}

// reason returns why the system has refused an operation, without its name.
func reason(err error) error {
	if e := new(exec.Error); errors.As(err, &e) {
		err = e.Err
	}
	if e := new(fs.PathError); errors.As(err, &e) {
		err = e.Err
	}
	return err
}

// environment returns the environment of the command.
func (r *run) environment(token uint64) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return hasName(v, envName) || hasName(v, envToken) || hasName(v, envRun)
	})
	runs := r.cookie
	if outer := os.Getenv(envRun); outer != "" {
		runs = outer + ":" + runs
	}
	return append(env, envName+"="+r.name, envToken+"="+strconv.FormatUint(token, 10), envRun+"="+runs)
}

func hasName(v, name string) bool {
	return len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name
}

// newCookie returns what nobody else is known by.
func newCookie() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
