package filelock

import (
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// marks show others who waits, in /proc/locks, as they would else have to look at all
// that all processes have open: a waiter locks one byte of the directory for readers, the
// one whose number is that of the lock file's inode. Nobody can lock it for writing. The
// kernel takes the mark away with the process.
type marks struct {
	dir string

	mu sync.Mutex // also held over the system calls, which do not block
	fd int        // of the directory; open while n > 0
	n  int        // how many there are
}

// A mark is the byte that a waiter has locked.
type mark struct {
	byte uint64
	set  bool
}

// markByte returns the byte of those who wait for f.
func markByte(f *file) uint64 { return f.inode.ino & math.MaxInt64 }

// move makes the mark of one who waits for f, if this user may read the directory, in the
// place of what k is.
func (m *marks) move(k mark, f *file) mark {
	if k.set && k.byte == markByte(f) {
		return k
	}
	m.remove(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 {
		err := uninterrupted(func() (err error) {
			m.fd, err = unix.Open(m.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return mark{}
		}
	}
	m.n++
	m.lock(markByte(f), unix.F_RDLCK)
	return mark{markByte(f), true}
}

// remove takes a mark away, if it was made.
func (m *marks) remove(k mark) {
	if !k.set {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n--; m.n > 0 {
		m.lock(k.byte, unix.F_UNLCK)
		return
	}
	_ = unix.Close(m.fd)
}

// lock fails where the kernel is older than 3.15: then the mark is not seen.
func (m *marks) lock(at uint64, kind int16) {
	lock := unix.Flock_t{Type: kind, Start: int64(at), Len: 1}  //nolint:gosec // not greater than MaxInt64
	_ = unix.FcntlFlock(uintptr(m.fd), unix.F_OFD_SETLK, &lock) //nolint:gosec // not negative
}
