package filelock

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namesHolders is whether the system tells which process has a lock.
const namesHolders = true

// locks are the locks of flock(2) that the kernel shows (/proc/locks), by the number of
// their inode.
type locks struct {
	byInode map[uint64][]systemLock
	all     bool // there are no others
}

type systemLock struct {
	dev     uint64 // of the superblock, which some file systems tell another one for
	pid     int    // whose it is; 0: it is not to be seen from here
	waiting int    // how many processes flock(2) has blocked
}

// systemLocks reads which locks there are. It disturbs nobody.
func systemLocks() (locks, error) {
	l := locks{byInode: make(map[uint64][]systemLock)}
	text, err := os.ReadFile("/proc/locks")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // some sandboxes have none
		return l, nil
	}
	if err != nil {
		return l, err
	}
	for line := range bytes.Lines(text) {
		l.add(strings.Fields(string(line)))
	}
	// Locks of processes outside of one's PID namespace, as that of a container, are not
	// shown: all are in the first one, whose inode is fixed (PROC_PID_INIT_INO).
	namespace, err := os.Readlink("/proc/self/ns/pid")
	l.all = err == nil && namespace == "pid:[4026531836]"
	return l, nil
}

// add takes in the words of a line:
//
//	1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF      held
//	1: -> FLOCK ADVISORY WRITE 1235 08:01:5678 0 EOF   waited for, below that
func (l *locks) add(words []string) {
	waits := len(words) > 1 && words[1] == "->"
	if waits {
		words = words[1:]
	}
	if len(words) < 6 || words[1] != "FLOCK" {
		return
	}
	place := strings.Split(words[5], ":")
	if len(place) != 3 {
		return
	}
	major, err1 := strconv.ParseUint(place[0], 16, 32)
	minor, err2 := strconv.ParseUint(place[1], 16, 32)
	ino, err3 := strconv.ParseUint(place[2], 10, 64)
	pid, err4 := strconv.Atoi(words[4])
	if errors.Join(err1, err2, err3, err4) != nil {
		return
	}
	dev := unix.Mkdev(uint32(major), uint32(minor))
	for i := range l.byInode[ino] {
		if known := &l.byInode[ino][i]; known.dev == dev {
			if waits {
				known.waiting++
			}
			return
		}
	}
	if !waits {
		l.byInode[ino] = append(l.byInode[ino], systemLock{dev: dev, pid: max(pid, 0)})
	}
}

// of returns the state of the lock of f. Where the kernel may not show it, f is tried to
// lock for readers, which keeps an attempt from a free lock for an instant.
func (l locks) of(f *file) (lockState, error) {
	known := l.byInode[f.inode.ino]
	for _, lock := range known {
		if lock.dev == f.inode.dev {
			return lockState{true, lock.pid}, nil
		}
	}
	if l.all && len(known) == 0 {
		return lockState{}, nil
	}
	held, err := f.isLocked()
	if held && len(known) == 1 {
		return lockState{true, known[0].pid}, err
	}
	return lockState{held: held}, err
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

// waitersFor returns how many wait for f: the Lockers whose inotify instances watch it,
// of processes that this one may look at, and processes that flock(2) has blocked.
func waitersFor(f *file, l locks) int {
	n := 0
	dev := f.inode.dev
	known := l.byInode[f.inode.ino]
	for _, lock := range known {
		if lock.dev == dev || len(known) == 1 {
			n, dev = lock.waiting, lock.dev
			break
		}
	}
	want := []byte(" ino:" + strconv.FormatUint(f.inode.ino, 16) + " sdev:" + strconv.FormatUint(kernelDev(dev), 16) + " mask:")
	mask := []byte(strconv.FormatUint(watchMask&unix.IN_ALL_EVENTS, 16) + " ")
	instances, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is a valid one
	for _, fd := range instances {
		if kind, err := os.Readlink(fd); err != nil || kind != "anon_inode:inotify" {
			continue
		}
		info, _ := os.ReadFile(filepath.Dir(filepath.Dir(fd)) + "/fdinfo/" + filepath.Base(fd)) //nolint:gosec // of /proc; what has gone says nothing
		for line := range bytes.Lines(info) {
			if _, rest, ok := bytes.Cut(line, want); ok && bytes.HasPrefix(rest, mask) {
				n++
			}
		}
	}
	return n
}

// kernelDev is a device number as the kernel has it (MKDEV of its kdev_t.h).
func kernelDev(dev uint64) uint64 { return uint64(unix.Major(dev))<<20 | uint64(unix.Minor(dev)) }
