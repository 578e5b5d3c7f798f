package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A console is a terminal, and the process that has it.
type console struct {
	*exec.Cmd
	place *place
	side  *os.File // the one of the person

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu: what was shown
}

// console starts locker in the foreground of a terminal of its own.
func (p *place) console(args ...string) *console {
	p.Helper()
	side, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		p.Skipf("there are no terminals here: %v", err)
	}
	p.Cleanup(func() { _ = side.Close() })
	number, err := unix.IoctlGetInt(int(side.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(side.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(side.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 100})
	}
	if err != nil {
		p.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		p.Fatal(err)
	}
	defer tty.Close()
	c := &console{Cmd: p.locker(args...), place: p, side: side}
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		p.Fatal(err)
	}
	kill := time.AfterFunc(bound, func() { _ = c.Process.Kill() })
	p.Cleanup(func() {
		kill.Stop()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := side.Read(buf)
			c.mu.Lock()
			c.text.Write(buf[:n])
			c.mu.Unlock()
			if err != nil {
				return // the last process has closed it, or the test has ended
			}
		}
	}()
	return c
}

func (c *console) shown() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// shows waits until the terminal shows a text.
func (c *console) shows(text string) {
	c.place.Helper()
	c.place.eventually("the terminal shows "+strconv.Quote(text), func() bool { return strings.Contains(c.shown(), text) })
}

// types types a text on the keyboard.
func (c *console) types(text string) {
	c.place.Helper()
	if _, err := c.side.WriteString(text); err != nil {
		c.place.Fatal(err)
	}
}

// ends waits until the process ends with a status.
func (c *console) ends(status int) {
	c.place.Helper()
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		c.place.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != status {
		c.place.Errorf("status %d, want %d; it shows %q", got, status, c.shown())
	}
}

const ctrlC = "\x03"

// Ctrl-C reaches the command from the terminal, and not once more from locker, which
// waits for what the command makes of it.
func TestInterruptFromTheTerminal(t *testing.T) {
	p := newPlace(t, "")
	c := p.console("run", "x", "--", "sh", "-c", `trap 'echo got' INT; echo ready; while ! read line; do :; done; exit 4`)
	c.shows("ready")
	c.types(ctrlC)
	c.shows("got")
	c.types("end\n")
	c.ends(4)
	if text := c.shown(); strings.Count(text, "got") != 1 {
		t.Errorf("%q", text)
	}
}

// Ctrl-C while a run waits ends it, and leaves a line of its own.
func TestInterruptOfAWait(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	c := p.console("run", "x", "--", "true")
	c.shows(`waiting for "x": held by pid ` + pid(h))
	c.types(ctrlC)
	c.ends(130)
	c.shows("\r\x1b[K")
	h.release()
}

// The line that tells whom a run waits for is kept up to date, and gone when the command
// begins.
func TestWaitOnATerminal(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	c := p.console("run", "x", "--", "echo", "mine")
	c.shows("(1 s)")
	c.shows("(2 s)")
	h.release()
	c.ends(0)
	c.shows("\r\x1b[Kmine")
	if text, _, _ := strings.Cut(c.shown(), "mine"); strings.Contains(text, "\n") {
		t.Errorf("%q; want one line", text)
	}
}

func TestBreakAsks(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	for _, answer := range []string{"n\n", "\n", "what\n"} {
		c := p.console("break", "x")
		c.shows(`"x" is held by pid ` + pid(h))
		c.shows("[y/N]")
		c.types(answer)
		c.ends(1)
		c.shows("was left to its holder")
	}
	c := p.console("break", "x")
	c.shows("[y/N]")
	c.types("y\n")
	c.ends(0)
	h.ended().want(t, 75, "", "is lost")
}

// Who would be broken is not the one that was shown any more.
func TestBreakOfAnother(t *testing.T) {
	p := newPlace(t, "")
	h := p.hold("x")
	c := p.console("break", "x")
	c.shows("[y/N]")
	h.release()
	h = p.hold("x")
	c.types("y\n")
	c.ends(1)
	c.shows("who is another now")
	h.release()
}

func TestWatchRedraws(t *testing.T) {
	p := newPlace(t, "")
	c := p.console("status", "--watch", "--interval", "100ms", "x")
	c.shows("free")
	h := p.hold("x")
	c.shows("pid " + pid(h))
	c.types(ctrlC)
	c.ends(0)
	if text := c.shown(); !strings.HasPrefix(text, "\x1b[H") || !strings.Contains(text, "\x1b[J") {
		t.Errorf("%q", text)
	}
	h.release()
}
