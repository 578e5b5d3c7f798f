package filelock

import (
	"bytes"
	"hash/crc32"
	"slices"
	"strconv"
	"time"
)

// A record tells people who holds a lock, or held it last, and keeps its token.
// It is one line of JSON that is padded with spaces:
//
//	{"token":1732385415123456,"pid":123,"host":"web-1","since":"2026-01-02T15:04:05.678Z","sum":"89abcdef"}
//
// It is always written as a whole and in place. A reader who meets a writer, or
// a machine that went down meanwhile, may leave a torn one, which does not match
// its sum: the CRC-32 of all that is before it.
type record struct {
	token uint64
	pid   int
	host  string // cleanHost has been applied
	since time.Time
}

const (
	recordSize = 256     // bytes
	maxHost    = 64      // bytes; all the rest takes 115 at most
	maxToken   = 1 << 62 // what is greater was not written by us
)

// appendRecord appends the recordSize bytes of r.
func appendRecord(b []byte, r record) []byte {
	start := len(b)
	b = append(b, `{"token":`...)
	b = strconv.AppendUint(b, r.token, 10)
	b = append(b, `,"pid":`...)
	b = strconv.AppendInt(b, int64(r.pid), 10)
	b = append(b, `,"host":"`...)
	b = append(b, r.host...)
	b = append(b, `","since":"`...)
	b = r.since.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	sum := crc32.ChecksumIEEE(b[start:])
	b = append(b, `,"sum":"`...)
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[sum>>shift&15])
	}
	b = append(b, `"}`...)
	length := len(b)
	b = slices.Grow(b, start+recordSize-length)[:start+recordSize]
	for i := length; i < len(b)-1; i++ {
		b[i] = ' '
	}
	b[len(b)-1] = '\n'
	return b
}

// parseRecord returns the record that a file begins with, or false if it begins
// with anything else.
func parseRecord(b []byte) (record, bool) {
	token, b, ok := parseToken(b)
	if !ok {
		return record{}, false
	}
	pid, b := field(b, `"pid":`, `,`)
	host, b := field(b, `"host":"`, `",`)
	since, b := field(b, `"since":"`, `"`)
	if b == nil {
		return record{}, false
	}
	r := record{token: token, host: string(host)}
	var err error
	if r.pid, err = strconv.Atoi(string(pid)); err != nil {
		return record{}, false
	}
	if r.since, err = time.Parse(time.RFC3339Nano, string(since)); err != nil {
		return record{}, false
	}
	return r, true
}

// parseToken returns the token of the record that a file begins with, which is
// all that an attempt needs, and what follows it up to the sum.
func parseToken(b []byte) (token uint64, rest []byte, ok bool) {
	if len(b) < recordSize {
		return 0, nil, false
	}
	b, sum, ok := bytes.Cut(b[:recordSize], []byte(`,"sum":"`))
	if !ok {
		return 0, nil, false
	}
	want, err := strconv.ParseUint(string(sum[:min(8, len(sum))]), 16, 32)
	if err != nil || uint32(want) != crc32.ChecksumIEEE(b) {
		return 0, nil, false
	}
	digits, rest := field(b, `{"token":`, `,`)
	token, err = strconv.ParseUint(string(digits), 10, 64)
	if err != nil || token > maxToken {
		return 0, nil, false
	}
	return token, rest, true
}

// field returns what is between before, which b begins with, and after, and the
// rest of b; or nil.
func field(b []byte, before, after string) (value, rest []byte) {
	b, ok := bytes.CutPrefix(b, []byte(before))
	if !ok {
		return nil, nil
	}
	value, rest, ok = bytes.Cut(b, []byte(after))
	if !ok {
		return nil, nil
	}
	return value, rest
}

// nextToken returns a token greater than the last one, and than those of files
// that have been deleted, as far as the clock has not been set back.
func nextToken(last uint64, now time.Time) uint64 {
	return max(last+1, uint64(max(now.UnixMicro(), 0)))
}

// cleanHost returns a host name that needs no quoting in JSON and fits a record.
func cleanHost(host string) string {
	b := []byte(host[:min(len(host), maxHost)])
	for i, c := range b {
		if !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			b[i] = '_'
		}
	}
	return string(b)
}
