package filelock

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"strings"

	"github.com/golocker/locker"
)

var _ locker.Inspector = (*driver)(nil)

// A lockState is what the system knows of the lock of a file.
type lockState struct {
	held bool
	pid  int // of the holder, as this process sees it; 0: not known
}

// looks is how often Inspect asks the system who has a lock that is held.
const looks = 5

// Inspect implements locker.Inspector. It opens the file to read it, which wakes nobody.
func (d *driver) Inspect(_ context.Context, name string) (locker.Info, error) {
	info := locker.Info{Name: name}
	f, err := openToRead(d.dir + fileName(name))
	if f == nil || err != nil {
		return info, err // free, as there is no file
	}
	defer func() { _ = f.close() }()
	var known locks
	var state lockState
	for i := 0; i == 0 || i < looks && known.mayTell(state); i++ {
		if known, err = d.locks(); err == nil {
			state, err = known.of(f)
		}
		if err != nil {
			return info, err
		}
	}
	info.Waiters = known.waitersFor(f, d.dir)
	if !state.held {
		return info, nil
	}
	info.Held = true
	var buf [recordSize]byte
	n, err := f.readRecord(buf[:])
	if err != nil {
		return info, err
	}
	r, ok := parseRecord(buf[:n])
	switch {
	case ok && d.wrote(r, state.pid):
		info.Holder = locker.Holder{Host: r.host, PID: r.pid, Since: r.since, Token: r.token}
	case state.pid != 0: // one that writes no record, as flock(1), or has not written it yet
		info.Holder = locker.Holder{Host: d.host, PID: state.pid}
	}
	return info, nil
}

// wrote reports whether r is of the process that has the lock, and not of one that had
// it before: the one that the system names, or else one of this machine that is alive.
func (d *driver) wrote(r record, pid int) bool {
	if pid != 0 {
		return r.pid == pid || r.pid == innerPID(pid)
	}
	return !namesHolders && r.host == d.host && isAlive(r.pid)
}

// Break implements locker.Inspector.
func (d *driver) Break(ctx context.Context, name string) error {
	info, err := d.Inspect(ctx, name)
	if err != nil || !info.Held {
		return err
	}
	return d.breakFile(ctx, d.dir+fileName(name))
}

// Names implements locker.Inspector.
func (d *driver) Names(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		dir, err := os.Open(d.dir)
		if err != nil {
			yield("", err)
			return
		}
		defer func() { _ = dir.Close() }()
		const step = 64 // files
		for {
			files, err := dir.Readdirnames(step)
			if errors.Is(err, io.EOF) {
				return
			}
			var known locks
			if err == nil {
				known, err = d.locks()
			}
			for i := 0; i < len(files) && err == nil; i++ {
				if err = ctx.Err(); err != nil {
					break
				}
				var name string
				if name, err = d.heldName(files[i], known); err == nil && name != "" && !yield(name, nil) {
					return
				}
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// heldName returns the name of the lock whose file is called so, if it is held, or "".
func (d *driver) heldName(file string, known locks) (string, error) {
	name, long, ok := lockName(file)
	if !ok {
		return "", nil
	}
	f, err := openToRead(d.dir + file)
	if errors.As(err, new(notRegularError)) || errors.Is(err, errForeign) || errors.Is(err, fs.ErrPermission) {
		return "", nil // not a lock, or not one of this user's
	}
	if f == nil || err != nil {
		return "", err
	}
	defer func() { _ = f.close() }()
	state, err := known.of(f)
	if !state.held || err != nil {
		return "", err
	}
	if long {
		if name, err = f.readName(); err != nil {
			return "", err
		}
	}
	if name == "" || fileName(name) != file {
		return "", nil
	}
	return name, nil
}

// lockName is the reverse of fileName: it returns the lock's name, or that it is too
// long for the file's, or false for what is no name of a lock's file.
func lockName(file string) (name string, long, ok bool) {
	stem, _, _ := strings.Cut(file, "+")
	if isHashed(file) {
		return "", true, true
	}
	b := make([]byte, 0, len(stem))
	for i := 0; i < len(stem); i++ {
		c := stem[i]
		if c == '%' {
			raw, err := hex.DecodeString(stem[i+1 : min(i+3, len(stem))])
			if err != nil || len(raw) != 1 {
				return "", false, false
			}
			c = raw[0]
			i += 2
		}
		b = append(b, c)
	}
	return string(b), false, fileName(string(b)) == file
}

// maxQuoted is how long a name can be as appendName writes it.
const maxQuoted = 4*1024 + 3

// appendName appends a name, for the file whose own name does not tell it. It is behind
// the record, for Names.
func appendName(b []byte, name string) []byte { return append(strconv.AppendQuote(b, name), '\n') }

// readName returns what appendName has written, or "".
func (f *file) readName() (string, error) {
	buf := make([]byte, recordSize+maxQuoted)
	n, err := f.readRecord(buf)
	if err != nil || n <= recordSize {
		return "", err
	}
	line, _, _ := strings.Cut(string(buf[recordSize:n]), "\n")
	name, err := strconv.Unquote(line)
	if err != nil {
		return "", nil //nolint:nilerr // torn, or not ours
	}
	return name, nil
}

// errNotRegular is the error of a path that names no regular file.
func errNotRegular(path string, mode fs.FileMode) error {
	kind := "not a regular file"
	switch {
	case mode&fs.ModeSymlink != 0:
		kind = "a symbolic link"
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	}
	return &fs.PathError{Op: "open", Path: path, Err: notRegularError(kind)}
}

// A notRegularError is what is in the place of a lock file.
type notRegularError string

func (e notRegularError) Error() string {
	return fmt.Sprintf("refused as a lock file: it is %s", string(e))
}
