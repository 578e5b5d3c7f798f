package filelock

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namesHolders is whether the system tells which process has a lock.
const namesHolders = true

// locks are the locks that the kernel shows (/proc/locks): those of flock(2), and the marks
// of waiters.
type locks struct {
	byInode map[uint64][]systemLock
	marks   map[markPlace][]markRange
	all     bool // the kernel shows the locks of flock(2) of all processes
	parted  bool // it has shown them in parts, between which one may go and hide another
	shown   bool // the kernel shows any
}

type systemLock struct {
	dev     uint64 // of the superblock, which some file systems tell another one for
	pid     int    // whose it is; 0: it is not to be seen from here
	waiting int    // how many processes flock(2) has blocked
}

// A markPlace is a directory in which there are marks.
type markPlace struct{ dev, ino uint64 }

// A markRange is from the first to the last one of adjacent marks of a Locker.
type markRange struct{ first, last uint64 }

// systemLocks reads which locks there are. It disturbs nobody.
func systemLocks() (locks, error) {
	l := locks{byInode: make(map[uint64][]systemLock), marks: make(map[markPlace][]markRange)}
	text, parts, err := readParts("/proc/locks")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // some sandboxes have none
		return l, nil
	}
	if err != nil {
		return l, err
	}
	for line := range bytes.Lines(text) {
		l.add(strings.Fields(string(line)))
	}
	l.shown, l.parted = true, parts > 1
	// Locks of processes outside of one's PID namespace, as that of a container, are not
	// shown: all are in the first one, whose inode is fixed (PROC_PID_INIT_INO).
	namespace, err := os.Readlink("/proc/self/ns/pid")
	l.all = err == nil && namespace == "pid:[4026531836]"
	return l, nil
}

// readParts reads a file of /proc, and tells in how many parts the kernel has shown it: up
// to a page each.
func readParts(path string) (text []byte, parts int, err error) {
	f, err := os.Open(path) //nolint:gosec // of /proc
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, 1<<16)
	for ; ; parts++ {
		n, err := f.Read(buf)
		if errors.Is(err, io.EOF) {
			return text, parts, nil
		}
		if err != nil {
			return nil, 0, err
		}
		text = append(text, buf[:n]...)
	}
}

// add takes in the words of a line:
//
//	1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF          held
//	1: -> FLOCK ADVISORY WRITE 1235 08:01:5678 0 EOF       waited for, below that
//	2: OFDLCK ADVISORY READ -1 08:01:1234 5678 5678        a mark
func (l *locks) add(words []string) {
	waits := len(words) > 1 && words[1] == "->"
	if waits {
		words = words[1:]
	}
	if len(words) < 8 || words[1] != "FLOCK" && words[1] != "OFDLCK" {
		return
	}
	place := strings.Split(words[5], ":")
	if len(place) != 3 {
		return
	}
	major, err1 := strconv.ParseUint(place[0], 16, 32)
	minor, err2 := strconv.ParseUint(place[1], 16, 32)
	ino, err3 := strconv.ParseUint(place[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return
	}
	dev := unix.Mkdev(uint32(major), uint32(minor))
	if words[1] == "OFDLCK" {
		l.addMark(markPlace{dev, ino}, words[6], words[7])
		return
	}
	for i := range l.byInode[ino] {
		if known := &l.byInode[ino][i]; known.dev == dev {
			if waits {
				known.waiting++
			}
			return
		}
	}
	if pid, err := strconv.Atoi(words[4]); err == nil && !waits {
		l.byInode[ino] = append(l.byInode[ino], systemLock{dev: dev, pid: max(pid, 0)})
	}
}

// addMark takes in what may be marks: they have an end, as other locks of whole files have
// not.
func (l *locks) addMark(place markPlace, first, last string) {
	from, err1 := strconv.ParseUint(first, 10, 64)
	to, err2 := strconv.ParseUint(last, 10, 64)
	if err1 == nil && err2 == nil {
		l.marks[place] = append(l.marks[place], markRange{from, to})
	}
}

// of returns the state of the lock of f. Where the kernel may not have shown it, f is tried
// to lock for readers, which keeps an attempt from a free lock for an instant.
func (l locks) of(f *file) (lockState, error) {
	known := l.byInode[f.inode.ino]
	for _, lock := range known {
		if lock.dev == f.inode.dev {
			return lockState{true, lock.pid}, nil
		}
	}
	if l.all && !l.parted && len(known) == 0 {
		return lockState{}, nil
	}
	held, err := f.isLocked()
	if held && len(known) == 1 {
		return lockState{true, known[0].pid}, err
	}
	return lockState{held: held}, err
}

// mayTell reports whether the holder of a lock, which is not known, may be so at another
// look.
func (l locks) mayTell(state lockState) bool {
	return state.held && state.pid == 0 && l.all && l.parted
}

// innerPID returns the id that a process has in its own PID namespace, or 0.
func innerPID(pid int) int {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			words := bytes.Fields(ids)
			inner, _ := strconv.Atoi(string(words[len(words)-1]))
			return inner
		}
	}
	return 0
}

// isAlive is not asked, as the kernel names holders.
func isAlive(int) bool { return false }

// waitersFor returns how many wait for a file of a directory: the Lockers whose marks are
// there, and processes that flock(2) has blocked; or -1 if the kernel does not show any.
func (l locks) waitersFor(f *file, dir string) int {
	in, err := lstat(dir)
	if err != nil || !l.shown {
		return -1
	}
	n, dev := 0, in.dev
	known := l.byInode[f.inode.ino]
	for _, lock := range known {
		if lock.dev == f.inode.dev || len(known) == 1 {
			n, dev = lock.waiting, lock.dev
			break
		}
	}
	for _, marks := range l.marks[markPlace{dev, in.ino}] {
		if at := markByte(f); marks.first <= at && at <= marks.last {
			n++
		}
	}
	return n
}
