package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
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

	ended     time.Time     // when the command has: what it has started may be left
	signalled time.Time     // when a signal came that asks to end
	deadline  time.Time     // when what is left is killed; zero: nothing has to end
	tick      *time.Timer   // when to look what is left
	pause     time.Duration // until the next look, when the command has ended
	told      bool          // what is left, or that it is killed
}

// wait returns the exit status of the command when nothing of it is left. It passes
// signals on, and does what is to be done when the lock is lost.
func (s *supervision) wait(signals <-chan os.Signal) (status int) {
	ended := make(chan int, 1)
	go func() { ended <- s.child.wait() }()
	settle := time.NewTimer(settled)
	defer settle.Stop()
	s.tick = time.NewTimer(0)
	s.tick.Stop() // nothing is due yet
	defer s.child.endGuard()
	var done <-chan struct{}
	for {
		select {
		case status = <-ended:
			s.ended = time.Now()
			if s.ended.Sub(s.signalled) < s.grace {
				s.end() // which the signal asked for
			}
			if s.over() {
				return status
			}
		case sig := <-signals:
			s.pass(sig)
		case <-settle.C:
			if err := s.child.startGuard(s.cookie); err != nil && !s.quiet {
				s.say("without a guard, processes of the command can outlive this one: %v", err)
			}
			done = s.lock.Done()
		case <-done:
			done = nil
			s.lost = s.lock.Err()
			s.lose()
		case <-s.tick.C:
			if s.over() {
				return status
			}
		}
	}
}

// pass passes a signal on. SIGTERM has the command end, within the grace. The others may
// mean something else to it, like SIGHUP or the Ctrl-C of a shell: with them it ends if it
// wants to, and what it leaves then has to.
func (s *supervision) pass(sig os.Signal) {
	s.child.pass(s.cookie, sig)
	if !ends(sig) {
		return
	}
	s.signalled = time.Now()
	switch {
	case sig == syscall.SIGTERM:
		s.limit(s.grace)
	case !s.ended.IsZero():
		s.end()
	}
}

// end asks the command and all that it has started to end, unless they are to already.
func (s *supervision) end() {
	if s.deadline.IsZero() {
		s.child.terminate(s.cookie)
		s.limit(s.grace)
	}
}

// limit has what is left killed after the grace, or when that was to happen anyway.
func (s *supervision) limit(grace time.Duration) {
	deadline := time.Now().Add(grace)
	if s.deadline.IsZero() || deadline.Before(s.deadline) {
		s.deadline = deadline
		s.tick.Reset(grace)
	}
}

// over reports whether the command has ended, and nothing is left of it. Else it does
// what is due, and has the tick come again.
func (s *supervision) over() bool {
	var left []int
	if !s.ended.IsZero() {
		if left = s.child.left(!s.deadline.IsZero()); len(left) == 0 {
			return true
		}
	}
	due := !s.deadline.IsZero() && !time.Now().Before(s.deadline)
	if due {
		s.child.kill(s.cookie)
	}
	switch {
	case s.told || s.lost != nil:
	case due:
		s.told = true
		s.say("the command under %s has not ended within %v, and is killed", quoted(s.name), s.grace)
	case s.deadline.IsZero() && time.Since(s.ended) > waitDelay && !s.quiet:
		s.told = true
		s.say("the command has ended, and %s is held until what it has left running ends: pid %s", quoted(s.name), strings.Trim(fmt.Sprint(left), "[]"))
	}
	s.pause = min(max(2*s.pause, time.Millisecond), 100*time.Millisecond)
	s.tick.Reset(s.pause)
	return false
}

// lose tells the loss, and has the command end as --on-loss says.
func (s *supervision) lose() {
	text := "goes on without it"
	switch s.onLoss {
	case onLossTerm:
		text = "is told to end"
		s.end()
	case onLossKill:
		text = "is killed"
		s.child.kill(s.cookie)
		s.limit(0)
	}
	s.say("the lock %s is lost, and the command %s: %v", quoted(s.name), text, cause(s.lost))
}
