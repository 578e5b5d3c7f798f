package filelock

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
)

// errForeign is why a file is not used as a lock file, nor changed.
var errForeign = errors.New("refused as a lock file: it holds data that is not a lock's record; give locks a directory of their own")

// maxContent is how long a file is that we have written.
const maxContent = recordSize + maxQuoted

// refuseForeign returns an error if f holds another program's data.
//
// A record that is just being written may look foreign: that is not found twice.
func (f *file) refuseForeign() error {
	var start [recordSize]byte
	n, err := f.readRecord(start[:])
	if err != nil || n == 0 {
		return err
	}
	if _, _, ok := parseToken(start[:n]); ok {
		return nil
	}
	const looks = 10 // at most, as a log that grows differs each time
	var before []byte
	for range looks {
		content := make([]byte, maxContent+1)
		n, err := f.readRecord(content)
		if err != nil || isOurs(content[:n]) {
			return err
		}
		if before != nil && bytes.Equal(before, content[:n]) {
			break
		}
		before = content[:n]
	}
	return &fs.PathError{Op: "open", Path: f.recordPath(), Err: errForeign}
}

// isOurs reports whether content, the first maxContent+1 bytes of a file, is that of a
// lock file:
//
//   - nothing, as somebody has made the file, with touch(1) or flock(1), too;
//   - a record, whatever follows it;
//   - what a crash or a full disk leaves of one: its beginning, with or without zero bytes
//     after that, or zero bytes alone;
//   - the beginning of one, up to the pid at least, and the end of another.
func isOurs(content []byte) bool {
	if _, _, ok := parseToken(content); ok {
		return true
	}
	if len(content) > maxContent {
		return false
	}
	written := bytes.TrimRight(content, "\x00")
	start := written[:min(len(written), recordSize)]
	length, parts := matchRecord(start)
	return length == len(start) || parts >= 2 && len(start) == recordSize && start[recordSize-1] == '\n'
}

// recordParts are the parts of a record: what each begins with, and which bytes follow.
var recordParts = []struct{ before, bytes string }{
	{`{"token":`, "0123456789"},
	{`,"pid":`, "0123456789"},
	{`,"host":"`, "-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"},
	{`","since":"`, "-:.TZ0123456789"},
	{`","sum":"`, hexDigits},
	{`"}`, " "},
	{"\n", ""},
}

// matchRecord returns how many bytes of b can be the beginning of a record, and how many
// parts of one have their beginning there.
func matchRecord(b []byte) (length, parts int) {
	for _, part := range recordParts {
		common := 0
		for common < len(part.before) && length+common < len(b) && b[length+common] == part.before[common] {
			common++
		}
		length += common
		if common < len(part.before) {
			break
		}
		parts++
		for length < len(b) && strings.IndexByte(part.bytes, b[length]) >= 0 {
			length++
		}
	}
	return length, parts
}
