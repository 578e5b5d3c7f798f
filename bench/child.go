package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// The only argument of a child: this program once more, as another process of the
// user.
const childArgument = "child"

func isChild() bool { return len(os.Args) == 2 && os.Args[1] == childArgument }

// A job is the first line that a child is given on its stdin, as JSON.
type job struct {
	Place     place
	Contender string
	Places    places
}

// A command is each further line.
type command string

const (
	doHold    command = "hold" // the lock, for long
	doRelease command = "release"
)

// An event is what a child tells on its stdout.
type event struct {
	What eventKind
	At   time.Time // by the clock of the machine, which all processes share
	Err  string    // with failed
}

type eventKind string

const (
	ready    eventKind = "ready"
	asks     eventKind = "asks"     // for the lock, from now on
	acquired eventKind = "acquired" // since At
	released eventKind = "released" // At is when the release began
	failed   eventKind = "failed"
)

// serve is what a child does. It ends when its stdin does, so that none outlives its
// parent, however that ends.
func serve(stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(stdin), json.NewEncoder(stdout)
	var j job
	if err := in.Decode(&j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	commands := make(chan command)
	go func() {
		defer close(commands)
		for {
			var c command
			if err := in.Decode(&c); err != nil {
				cancel()
				// A lock that no ctx ends the wait for must not keep the process.
				time.AfterFunc(2*time.Second, func() { os.Exit(1) })
				return
			}
			commands <- c
		}
	}()
	if err := obey(ctx, j, commands, out); err != nil && ctx.Err() == nil {
		return errors.Join(err, out.Encode(event{What: failed, At: time.Now(), Err: err.Error()}))
	}
	return nil
}

func obey(ctx context.Context, j job, commands <-chan command, out *json.Encoder) (err error) {
	c, err := contenderNamed(j.Place, j.Contender)
	if err != nil {
		return err
	}
	client, err := c.open(ctx, j.Places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.close()) }()
	if err := pair(ctx, client, c.lock()+"-warm-up"); err != nil {
		return err
	}
	if err := out.Encode(event{What: ready, At: time.Now()}); err != nil {
		return err
	}
	var release func() error
	for cmd := range commands {
		e := event{What: acquired}
		if cmd == doRelease {
			e = event{What: released, At: time.Now()}
			err = release()
		} else {
			if err := out.Encode(event{What: asks, At: time.Now()}); err != nil {
				return err
			}
			release, err = hold(ctx, client, c.lock())
			e.At = time.Now()
		}
		if err == nil {
			err = out.Encode(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func contenderNamed(where place, name string) (contender, error) {
	for _, c := range of(where) {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("no contender %q in %s", name, where)
}

// A process is a child, seen from the parent.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan event // closed when its stdout ends
}

// start starts a child that is a client of c. When ctx ends, it is killed.
func start(ctx context.Context, c contender, p places) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, childArgument)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	child := &process{cmd, stdin, make(chan event, 1)}
	go func() {
		defer close(child.events)
		for d := json.NewDecoder(stdout); ; {
			var e event
			if d.Decode(&e) != nil {
				return
			}
			child.events <- e
		}
	}()
	err = json.NewEncoder(stdin).Encode(job{c.place, c.name, p})
	if err == nil {
		_, err = child.await(ctx, ready)
	}
	if err != nil {
		child.kill()
		return nil, err
	}
	return child, nil
}

func (p *process) do(c command) error { return json.NewEncoder(p.stdin).Encode(c) }

// await returns when the child says that something has happened.
func (p *process) await(ctx context.Context, what eventKind) (at time.Time, err error) {
	select {
	case e, ok := <-p.events:
		switch {
		case !ok:
			return at, errors.New("a child has ended")
		case e.What == failed:
			return at, errors.New(e.Err)
		case e.What != what:
			return at, fmt.Errorf("a child says %q instead of %q", e.What, what)
		}
		return e.At, nil
	case <-ctx.Done():
		return at, context.Cause(ctx)
	case <-time.After(2 * time.Minute):
		return at, fmt.Errorf("a child does not say %q within two minutes", what)
	}
}

// kill kills the child, as a crash would, and returns when it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.end()
}

// end lets the child end, and returns when it has.
func (p *process) end() {
	_ = p.stdin.Close()
	for range p.events { // until its stdout ends
	}
	_ = p.cmd.Wait()
}
