package filelock

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

// The kernel makes no file system read-only that has a file open for writing, as
// that of a holder is. It may do so to one way there.
func TestReadOnlyUnderAHolder(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := mountSmall(t)
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	third, _ := open(t, dir)
	lock := acquire(t, first, "name")
	outages := make(outages)
	waiter := acquireLater(t, second, d, "name", locker.WithLogger(slog.New(outages)))
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); !errors.Is(err, unix.EBUSY) {
		t.Errorf("remount: %v, want EBUSY", err)
	}

	writable := readOnly(t, dir)
	if err := lock.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
	isRefused(t, third, "name", unix.EROFS)
	isRefused(t, third, "new", unix.EROFS)
	release(t, lock)
	if err := outages.await(t); !errors.Is(err, unix.EROFS) {
		t.Errorf("the waiter is told %v", err)
	}
	writable()
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	if _, err := third.Acquire(t.Context(), "name", locker.WithTimeout(0)); !errors.Is(err, locker.ErrAlreadyLocked) {
		t.Errorf("Acquire = %v, want ErrAlreadyLocked", err)
	}
	release(t, next)

	// It works now, as nobody has a file open.
	mount(t, "", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	isRefused(t, third, "name", unix.EROFS)
	mount(t, "", dir, "", unix.MS_REMOUNT, "")
	last := acquire(t, third, "name", locker.WithTimeout(0))
	if last.Token() <= next.Token() {
		t.Errorf("token %d after %d", last.Token(), next.Token())
	}
	release(t, last)
}

func TestWaiterOutlastsAReadOnlyDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	// Two ways to the files; one of them becomes read-only.
	disk, dir := mountSmall(t), t.TempDir()
	mount(t, disk, dir, "", unix.MS_BIND, "")
	first, _ := open(t, dir)
	second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
	lock := acquire(t, first, "name")
	outages := make(outages)
	waiter := acquireLater(t, second, d, "name", locker.WithLogger(slog.New(outages)))

	writable := readOnly(t, dir)
	if err := os.Remove(filepath.Join(disk, "name")); err != nil { // the waiter looks for another
		t.Fatal(err)
	}
	for range 3 {
		if err := outages.await(t); !errors.Is(err, unix.EROFS) {
			t.Errorf("the waiter is told %v", err)
		}
	}
	if err := lock.Err(); !errors.Is(err, locker.ErrLost) {
		t.Errorf("Err = %v, want ErrLost", err)
	}
	writable()
	next := await(t, waiter)
	if next.Token() <= lock.Token() {
		t.Errorf("token %d after %d", next.Token(), lock.Token())
	}
	release(t, next)
}

// Where the path leads to another file system, others find no lock.
func TestMountIsALoss(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	changes := map[string]func(t *testing.T, dir string){
		"over the directory":        func(t *testing.T, dir string) { mount(t, "tmpfs", dir, "tmpfs", 0, "size=16k") },
		"gone from below the locks": func(t *testing.T, dir string) { unmount(t, dir) },
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			dir := mountSmall(t)
			first, _ := open(t, dir, locker.WithCheckInterval(time.Millisecond))
			second, d := open(t, dir, locker.WithCheckInterval(time.Millisecond))
			lock := acquire(t, first, "name")
			waiter := acquireLater(t, second, d, "name")
			change(t, dir)
			<-lock.Done()
			if err := lock.Err(); !errors.Is(err, locker.ErrLost) {
				t.Errorf("Err = %v, want ErrLost", err)
			}
			next := await(t, waiter)
			if next.Token() <= lock.Token() {
				t.Errorf("token %d after %d", next.Token(), lock.Token())
			}
			release(t, next)
		})
	}
}

// ownMounts runs the test again in a child that may mount and that nobody else
// sees the mounts of: they are gone with it, however it ends. It returns as rerun
// does.
func ownMounts(t *testing.T) bool {
	t.Helper()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 { // become root of a user namespace
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return rerun(t, attr)
}

// mountSmall mounts a file system that is soon full, with more options for it if
// there are any, and returns its directory.
func mountSmall(t *testing.T, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, strings.Join(append(options, "size=16k,mode=0700"), ","))
	return dir
}

// mount mounts something, or changes a mount, until the test has ended.
func mount(t *testing.T, source, dir, kind string, flags uintptr, options string) {
	t.Helper()
	err := unix.Mount(source, dir, kind, flags, options)
	if errors.Is(err, fs.ErrPermission) {
		unavailable(t, "the test may not mount: %v", err)
	}
	if err != nil {
		t.Fatal("mount: ", err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // so that dir can be removed
	}
}

// unmount makes what is below a mount visible; open files stay open.
func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal("unmount: ", err)
	}
}

// readOnly makes dir read-only until writable is called.
func readOnly(t *testing.T, dir string) (writable func()) {
	t.Helper()
	mount(t, dir, dir, "", unix.MS_BIND, "")
	mount(t, "", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	return func() { unmount(t, dir) }
}

// isRefused checks that l cannot acquire a lock, for a reason if there is one.
func isRefused(t *testing.T, l *Locker, name string, reason error) {
	t.Helper()
	lock, err := l.Acquire(t.Context(), name)
	if err == nil {
		release(t, lock)
	}
	_, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(err, locker.ErrUnavailable) || reason != nil && !errors.Is(err, reason) {
		t.Errorf("Acquire = %v, want ErrUnavailable, %v and an *fs.PathError", err, reason)
	}
}
