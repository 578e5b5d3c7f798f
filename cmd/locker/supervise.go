package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/golocker/locker"
)

const (
	// settled is when a command has lived for so long that it is worth a guard, and that
	// its lock is looked after. Short ones cost no more than they have to.
	settled = 20 * time.Millisecond
	// releaseTimeout bounds how long the end of a run may take.
	releaseTimeout = 10 * time.Second
)

// under runs the command, which has the lock, and gives the lock back.
func (r *run) under(ctx context.Context, lock locker.Lock, signals <-chan os.Signal) error {
	r.cookie = newCookie()
	env := r.environment(lock.Token())
	c, err := startChild(r.path, r.command, env)
	if errors.Is(err, syscall.ENOEXEC) { // a script that names no interpreter: as execvp(3) does
		c, err = startChild("/bin/sh", append([]string{"sh", r.path}, r.command[1:]...), env)
	}
	if err != nil {
		_ = lock.Release(ctx) // what has failed first is told
		return unstarted(r.command[0], err)
	}
	s := &supervision{run: r, lock: lock, child: c}
	status := s.wait(signals)

	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	err = lock.Release(ctx)
	switch {
	case errors.Is(err, locker.ErrLost) && s.lost == nil:
		s.lost = err
		r.say("the lock %s was lost while the command ran: %v", quoted(r.name), cause(err))
	case err != nil && s.lost == nil && !r.quiet:
		r.say("the command has ended, but its lock %s may be held for longer: %v", quoted(r.name), cause(err))
	}
	if s.lost != nil && r.onLoss != onLossIgnore {
		status = r.statusLost
	}
	return &exitError{status: status}
}

// unstarted is the error of a command that could not be started.
func unstarted(command string, err error) error {
	status := statusNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		status = statusNotFound // or the interpreter that its first line names
	}
	return &exitError{status, fmt.Errorf("%s: %w", command, reason(err))}
}

// cause returns what an error of a lock says without its name.
func cause(err error) error {
	if e := new(locker.Error); errors.As(err, &e) {
		err = e.Err
	}
	return err
}

// A supervision is of a command that runs.
type supervision struct {
	*run
	lock  locker.Lock
	child *child
	lost  error
}

// wait returns the exit status of the command when it has ended. It passes signals on,
// and does what is to be done when the lock is lost.
func (s *supervision) wait(signals <-chan os.Signal) int {
	ended := make(chan int, 1)
	go func() { ended <- s.child.wait() }()
	timer := time.NewTimer(settled)
	defer timer.Stop()
	guarded := &guarding{}
	defer func() { guarded.end() }()
	var done <-chan struct{}
	var deadline time.Time // after a loss: when what is left of the command is killed
	for {
		select {
		case status := <-ended:
			s.child.bury(s.cookie, deadline)
			return status
		case sig := <-signals:
			s.child.pass(sig)
		case <-timer.C:
			if s.lost != nil {
				s.child.kill(s.cookie)
				continue
			}
			var err error
			if guarded, err = startGuard(s.cookie); err != nil && !s.quiet {
				s.say("without a guard, processes of the command can outlive this one: %v", err)
			}
			done = s.lock.Done()
		case <-done:
			done = nil
			s.lost = s.lock.Err()
			deadline = s.lose()
			if !deadline.IsZero() {
				timer.Reset(time.Until(deadline))
			}
		}
	}
}

// lose tells the loss, and has the command end as --on-loss says. It returns until when
// it may take.
func (s *supervision) lose() (deadline time.Time) {
	text, then := "goes on without it", func() {}
	switch s.onLoss {
	case onLossTerm:
		deadline = time.Now().Add(s.grace)
		text, then = "is told to end", func() { s.child.terminate(s.cookie) }
	case onLossKill:
		deadline = time.Now()
		text, then = "is killed", func() { s.child.kill(s.cookie) }
	}
	then()
	s.say("the lock %s is lost, and the command %s: %v", quoted(s.name), text, cause(s.lost))
	return deadline
}
