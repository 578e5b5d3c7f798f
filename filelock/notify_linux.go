package filelock

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

// A notifier wakes waiters by inotify when a holder closes its lock file, also
// by dying, and when the file is deleted or replaced. There is one inotify
// instance for all waiters of a Locker, read by one goroutine, while there are
// waiters and for a while after that.
type notifier struct {
	log    *slog.Logger
	init   func() (fd int, err error) // makes the inotify instance
	linger time.Duration              // how long it is kept without waiters

	mu      sync.Mutex       // guards what follows, and all watches
	file    *os.File         // the instance; nil while there is none
	fd      int              // of file, whose Fd would make it block
	watches map[int][]*watch // by watch descriptor: names of one inode share it
	closed  bool
	warned  bool
	reading bool  // the reader deals with events
	unused  []int // watch descriptors that it is to remove then
	readers sync.WaitGroup
}

// A watch is what wakes one waiter.
type watch struct {
	attempt *locker.Attempt
	wd      int
	dead    bool // the kernel has removed it
	events  bool // some came since the last call of woken
}

// defaultLinger is as long as it is because the kernel takes 10 ms to close an
// instance that ever had a watch. Where one lock goes to and fro between
// processes every 0.1 ms, the user would soon have none of his 128 instances.
const defaultLinger = time.Second

// When a file is deleted or replaced while it is open, that is IN_ATTRIB.
const watchMask = unix.IN_CLOSE_WRITE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ATTRIB | unix.IN_DONT_FOLLOW

func newNotifier() notifier {
	return notifier{
		log:     slog.New(slog.DiscardHandler),
		init:    func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK) },
		linger:  defaultLinger,
		watches: make(map[int][]*watch),
	}
}

// add has the events of a file wake a. It returns nil where that is impossible.
func (n *notifier) add(path string, a *locker.Attempt) *watch {
	n.mu.Lock()
	defer n.mu.Unlock()
	wd, err := n.addLocked(path)
	if err == nil {
		w := &watch{attempt: a, wd: wd}
		n.watches[wd] = append(n.watches[wd], w)
		return w
	}
	n.idle()
	if !n.warned && !errors.Is(err, unix.ENOENT) { // the file may be deleted at any time
		n.warned = true
		n.log.Warn("inotify is not available: waiting for lock files by polling", "error", err)
	}
	return nil
}

// addLocked adds a watch, to a new instance if there is none. mu is held over the
// system call, so that no event is read before the watch is in the map.
func (n *notifier) addLocked(path string) (int, error) {
	if n.closed {
		return 0, os.ErrClosed
	}
	if n.file == nil {
		fd, err := n.init()
		if err != nil {
			return 0, os.NewSyscallError("inotify_init1", err)
		}
		n.fd, n.file = fd, os.NewFile(uintptr(fd), "inotify")
		n.readers.Add(1)
		go n.read(n.file)
	}
	wd, err := unix.InotifyAddWatch(n.fd, path, watchMask)
	if err != nil {
		return 0, os.NewSyscallError("inotify_add_watch", err)
	}
	if len(n.watches) == 0 {
		_ = n.file.SetReadDeadline(time.Time{})
	}
	return wd, nil
}

// remove ends a watch; w may be nil.
func (n *notifier) remove(w *watch) {
	if w == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.dead {
		return
	}
	w.dead = true
	rest := slices.DeleteFunc(n.watches[w.wd], func(other *watch) bool { return other == w })
	if len(rest) > 0 {
		n.watches[w.wd] = rest
		return
	}
	delete(n.watches, w.wd)
	if n.reading {
		n.unused = append(n.unused, w.wd)
		return
	}
	_, _ = unix.InotifyRmWatch(n.fd, uint32(w.wd)) //nolint:gosec // not negative; fails if the inode went first
	n.idle()
}

// idle has the reader end after a while if there are no watches. mu is held.
func (n *notifier) idle() {
	if n.file != nil && len(n.watches) == 0 && !n.closed {
		_ = n.file.SetReadDeadline(time.Now().Add(n.linger))
	}
}

// alive reports whether w will wake its waiter; w may be nil.
func (n *notifier) alive(w *watch) bool {
	if w == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return !w.dead
}

// woken reports whether events of w came since it was called last; w may be nil.
func (n *notifier) woken(w *watch) bool {
	if w == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	events := w.events
	w.events = false
	return events
}

// close ends the reader and waits for its end.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	if n.file != nil {
		_ = n.file.SetReadDeadline(time.Unix(1, 0))
	}
	n.mu.Unlock()
	n.readers.Wait()
}

// read reads the events of an instance, and closes it when nobody waits.
func (n *notifier) read(f *os.File) {
	defer n.readers.Done()
	defer func() { _ = f.Close() }()
	buf := make([]byte, 4096)
	for {
		k, err := f.Read(buf)
		if err != nil {
			if n.ends(err) {
				return
			}
			continue
		}
		n.dispatch(buf[:k])
		// Who was woken goes on now, on this thread: to wake another one takes as long as
		// all the rest. What it has no more use for is removed after that.
		runtime.Gosched()
		n.removeUnused()
	}
}

// removeUnused removes the watches that were left to the reader.
func (n *notifier) removeUnused() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reading = false
	for _, wd := range n.unused {
		if _, used := n.watches[wd]; !used {
			_, _ = unix.InotifyRmWatch(n.fd, uint32(wd)) //nolint:gosec // not negative; fails if the inode went first
		}
	}
	n.unused = n.unused[:0]
	n.idle()
}

// ends gives up the instance after reading from it has failed, unless somebody
// has come to wait again.
func (n *notifier) ends(err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	expired := errors.Is(err, os.ErrDeadlineExceeded)
	if expired && !n.closed && len(n.watches) > 0 {
		return false
	}
	n.file = nil
	for wd := range n.watches {
		n.kill(wd)
	}
	if !expired {
		n.log.Warn("inotify failed", "error", err)
	}
	return true
}

// dispatch wakes those whom events concern.
func (n *notifier) dispatch(events []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reading = true
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events))) //nolint:gosec // -1 in an overflow
		mask := binary.NativeEndian.Uint32(events[4:])
		name := int(binary.NativeEndian.Uint32(events[12:])) // 0 where files are watched
		events = events[min(unix.SizeofInotifyEvent+name, len(events)):]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0: // some were lost: they may have been anybody's
			for wd := range n.watches {
				n.wake(wd)
			}
		case mask&unix.IN_IGNORED != 0: // removed by the kernel; if by us, it is unknown
			n.kill(wd)
		default:
			n.wake(wd)
		}
	}
}

// wake wakes those who wait for a file. mu is held.
func (n *notifier) wake(wd int) {
	for _, w := range n.watches[wd] {
		w.events = true
		w.attempt.Wake()
	}
}

// kill wakes those whose watch is no more, to have them add another. mu is held.
func (n *notifier) kill(wd int) {
	n.wake(wd)
	for _, w := range n.watches[wd] {
		w.dead = true
	}
	delete(n.watches, wd)
}
