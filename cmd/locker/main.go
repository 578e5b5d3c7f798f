package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/golocker/locker"
)

func main() {
	if isGuard(os.Args) {
		guard(os.Args)
		return
	}
	p := &program{args: os.Args}
	status := p.run(context.Background())
	p.voice.end()
	os.Exit(status)
}

// The exit statuses that can not be chosen, after sysexits.h and the shell.
const (
	statusUsage         = 2
	statusUnavailable   = 69
	statusInternal      = 70
	statusNotExecutable = 126
	statusNotFound      = 127
	statusSignal        = 128 // and the number of the signal
)

// A program is one run of locker.
type program struct {
	args    []string
	url     string // may be several
	quiet   bool
	signals *caught // nil until they are needed
	voice   voice
}

// run does what the arguments say, and returns the exit status.
func (p *program) run(ctx context.Context) (status int) {
	defer func() {
		if r := recover(); r != nil {
			p.say("internal error: %v", r)
			status = statusInternal
		}
	}()
	if len(p.args) > 1 && p.args[1] == "run" {
		p.signals = catch() // while the arguments are parsed
	}
	err := p.command().Run(ctx, p.args)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			p.say("%v", exit.err)
		}
		return exit.status
	}
	p.say("%v", err)
	switch {
	case errors.Is(err, locker.ErrInvalid), errors.As(err, new(cli.ExitCoder)): // of the parser, which misses a topic of help
		return statusUsage
	case errors.Is(err, locker.ErrUnavailable), errors.Is(err, errors.ErrUnsupported):
		return statusUnavailable
	default:
		return statusInternal
	}
}

// An exitError ends the program with a status, and if there is an err, with what it says.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage is the error of arguments that make no sense.
func usage(format string, args ...any) error {
	return &exitError{statusUsage, fmt.Errorf(format, args...)}
}
