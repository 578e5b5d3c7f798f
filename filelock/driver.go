package filelock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// A driver makes attempts on the lock files of one directory.
type driver struct {
	dir      string // absolute, with a separator at its end
	pid      int    // what its records say
	host     string
	notifier notifier
	marks    marks
	locks    func() (locks, error) // what the system knows of

	mu     sync.Mutex
	places map[string]*place   // guarded by mu: between two calls for a lock's name
	free   map[string]struct{} // guarded by mu: names of some locks that were free at the latest attempt

	breaks sync.WaitGroup // files that are kept locked after a Break
}

// A place is what is kept for a waiter between its Tries. The file stays open, so that it
// can be told from one that takes its place.
type place struct {
	file  *file
	watch *watch // nil: nothing wakes the waiter
	mark  mark
	tries int // since the last event
}

// The event of a holder's death comes a moment before the kernel drops its
// lock, so a try that fails after an event is followed by a few more. They are
// over after 0.2 s, as the dying process may have to wait for a processor in between;
// unless the last one has met nobody but those who only look at the lock, and cause no
// event.
const (
	quickTries = 11
	quickDelay = 100 * time.Microsecond // before the first; then doubled
	maxDoubled = 20                     // times: until the check interval
)

// How often a lock is tried again that is locked for readers, and after which time.
const (
	readers    = 20
	readerTime = 50 * time.Microsecond
)

// maxReplaced is how often a Try opens a file that is replaced meanwhile.
const maxReplaced = 100

var (
	_ locker.Driver  = (*driver)(nil)
	_ locker.Queue   = (*driver)(nil)
	_ locker.Checker = (*file)(nil)
)

func newDriver(dir string) *driver {
	host, _ := os.Hostname() // only for people
	if dir[len(dir)-1] != filepath.Separator {
		dir += string(filepath.Separator)
	}
	return &driver{dir: dir, pid: os.Getpid(), host: cleanHost(host), notifier: newNotifier(), marks: marks{dir: dir}, locks: systemLocks, places: make(map[string]*place), free: make(map[string]struct{})}
}

func (*driver) Backend() string { return "file" }

// Try locks the file and notes the holder in it; or leaves a place that is
// woken when the file is closed by its holder.
func (d *driver) Try(ctx context.Context, a *locker.Attempt) (locker.Grant, error) {
	path := d.dir + fileName(a.Name)
	p := d.take(a.Name)
	var f *file
	if p != nil {
		f = p.file
		if d.notifier.woken(p.watch) {
			p.tries = 0
		}
	}
	var locked bool
	var err error
	if p == nil && d.wasFree(a.Name) {
		f = lockAtOnce(path)
		locked = f != nil
	}
	if !locked {
		f, locked, err = lockFile(path, f)
	}
	if p == nil && locked {
		d.setFree(a.Name)
	}
	for err == nil && !locked {
		if !a.Wait || ctx.Err() != nil {
			_ = f.close() // it was not locked
			err = locker.ErrAlreadyLocked
			break
		}
		if p == nil {
			p = &place{}
		}
		if d.settle(p, f, a) {
			d.keep(a.Name, p)
			return locker.Grant{}, locker.ErrAlreadyLocked
		}
		f, locked, err = lockFile(path, f)
	}
	if p != nil {
		d.leave(p)
	}
	if err != nil {
		return locker.Grant{}, err
	}
	return d.grant(f, a.Name)
}

// lockAtOnce locks the file that path names, which is likely to be free, and returns it. It
// returns nil for whatever is in the way, which lockFile finds again.
func lockAtOnce(path string) *file {
	f, err := openToLock(path)
	if f == nil || err != nil {
		return nil
	}
	if locked, err := f.tryLock(); locked && err == nil {
		if named, err := f.inPlace(); named && err == nil {
			return f
		}
	}
	_ = f.close()
	return nil
}

// lockFile tries to lock the file that path names: f, or if that is nil or no
// longer named, one that it opens. It returns the file, open, locked or not; all
// others are closed.
func lockFile(path string, f *file) (_ *file, locked bool, err error) {
	for range maxReplaced {
		if f == nil {
			if f, err = openFile(path); err != nil {
				return nil, false, err
			}
		}
		// Also a lock that another holds counts only if it is on the file that
		// all newcomers find, hence the look in both cases. Who locks a file that
		// took its place after that has a later time for a token.
		f, locked, err = tryFile(f)
		f.lockedAt = time.Now()
		var named bool
		if err == nil {
			named, err = f.inPlace()
		}
		if err == nil && named {
			return f, locked, nil
		}
		_ = f.close()
		if err != nil {
			return nil, false, err
		}
		f = nil
	}
	return nil, false, &fs.PathError{Op: "lock", Path: path, Err: fmt.Errorf("replaced %d times during one attempt", maxReplaced)}
}

// tryFile tries to lock f, or the same file opened anew, which it returns; f is closed then.
func tryFile(f *file) (_ *file, locked bool, err error) {
	f.shared = false
	w, err := f.toLock()
	if w == nil || err != nil {
		return f, false, err
	}
	locked, err = w.tryLock()
	for i := 0; i < readers && err == nil && !locked; i++ {
		// Who only looks at the lock may have it for an instant: an attempt, or locks.of.
		var held bool
		held, err = w.isLocked()
		w.shared = !held
		if held || err != nil {
			break
		}
		// Another may hold it and release it now: the time of the opening is none for a token.
		if _, err = w.inPlace(); err != nil {
			break
		}
		time.Sleep(readerTime)
		locked, err = w.tryLock()
	}
	return w, locked, err
}

// settle prepares p for a wait for f, which another holds. It returns false when
// f is to be tried again before: the holder may have gone before a new watch was
// there to tell.
func (d *driver) settle(p *place, f *file, a *locker.Attempt) bool {
	if p.file != f || !d.notifier.alive(p.watch) {
		d.notifier.remove(p.watch)
		p.file, p.tries = f, quickTries
		p.mark = d.marks.move(p.mark, f)
		if p.watch = d.notifier.add(f.path, a); p.watch != nil {
			p.tries = 0
			return false
		}
		if named, err := f.named(); err == nil && !named {
			return false // there was nothing to watch: the file has just gone
		}
	}
	if p.tries < quickTries || f.shared {
		a.RetryAfter = min(quickDelay<<min(p.tries, maxDoubled), a.CheckInterval)
		p.tries++
	}
	return true
}

// leave ends what wakes and shows who has waited at p.
func (d *driver) leave(p *place) {
	d.notifier.remove(p.watch)
	d.marks.remove(p.mark)
}

// grant notes in f, which is locked, who holds it.
func (d *driver) grant(f *file, name string) (locker.Grant, error) {
	var buf [recordSize]byte
	n, err := f.readRecord(buf[:])
	if err == nil {
		last, _, ok := parseToken(buf[:n])
		if now := time.Now(); !ok { // then the time alone tells that the token is greater
			if named, e := f.named(); named && e == nil {
				f.lockedAt = now
			}
		}
		if err = f.mayOverwrite(ok); err == nil && !ok {
			err = f.refuseForeign()
		}
		if err == nil {
			r := record{token: nextToken(last, f.lockedAt), pid: d.pid, host: d.host, since: f.lockedAt}
			rec := appendRecord(buf[:0], r)
			if isHashed(f.path) {
				rec = appendName(rec, name)
			}
			if err = f.writeRecord(rec); err == nil {
				return locker.Grant{Token: r.token, Hold: f}, nil
			}
		}
	}
	_ = f.close() // without the record, the next token might be this one again
	return locker.Grant{}, err
}

// maxFree bounds of how many names it is known that they were free.
const maxFree = 256

// wasFree reports whether the latest attempt on a lock found it free, and forgets it: then
// it is locked at once. Where that fails, those who wait are woken once.
func (d *driver) wasFree(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, free := d.free[name]
	delete(d.free, name)
	return free
}

func (d *driver) setFree(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.free) >= maxFree {
		clear(d.free)
	}
	d.free[name] = struct{}{}
}

// take returns the place that was kept for a name, or nil.
func (d *driver) take(name string) *place {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.places[name]
	if p != nil {
		delete(d.places, name)
	}
	return p
}

func (d *driver) keep(name string, p *place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places[name] = p
}

// Leave implements locker.Queue.
func (d *driver) Leave(_ context.Context, name string) {
	if p := d.take(name); p != nil {
		d.leave(p)
		_ = p.file.close() // it was not locked
	}
}

// Close implements locker.Driver. All places have been left.
func (d *driver) Close() error {
	d.notifier.close()
	d.breaks.Wait()
	return nil
}

// Check implements locker.Checker. A path that cannot be looked at is no loss:
// the kernel keeps the lock. It uses no descriptor, so it may meet Release.
func (f *file) Check() error {
	named, err := f.named()
	lost := err == nil && !named
	if !lost {
		return nil
	}
	return &fs.PathError{Op: "check", Path: f.path, Err: errors.New("the lock file was deleted or replaced")}
}

// Release implements locker.Hold.
func (f *file) Release(context.Context) error { return f.close() }
