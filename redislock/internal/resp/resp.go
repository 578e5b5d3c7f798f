// Package resp reads and writes RESP, the protocol of Redis, versions 2 and 3: as much as
// a session needs. It knows what servers say when they refuse something.
// https://redis.io/docs/latest/develop/reference/protocol-spec/
package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	maxBulk  = 1 << 16 // bytes of a string that are kept; what a lock needs is far shorter
	maxDepth = 8       // of arrays in arrays
	maxArray = 1 << 16 // elements
)

// ErrProtocol is matched by the error of Read where a server sends what is no RESP.
var ErrProtocol = errors.New("unexpected data from the server")

// A Value is a value that the server has sent.
type Value struct {
	Kind byte    // its first byte on the wire
	Text string  // of one that is no list
	List []Value // of a list
	Cut  bool    // a string that was longer than 64 KiB: Text is empty
}

// IsPush reports whether v is a message or a confirmation, not an answer to a
// command: in RESP3 it is marked, in RESP2 known by its first word.
func (v *Value) IsPush(resp3 bool) bool {
	if v.Kind == '>' {
		return true
	}
	if resp3 || v.Kind != '*' || len(v.List) == 0 {
		return false
	}
	switch kind := v.List[0].Text; kind {
	case "message", "subscribe", "unsubscribe":
		return true
	default:
		return isShardKind(kind)
	}
}

// isShardKind reports whether a push is about a channel of a shard.
func isShardKind(kind string) bool {
	return kind == "smessage" || kind == "ssubscribe" || kind == "sunsubscribe"
}

// PushKind returns what a push is about: "message", "subscribe" or "unsubscribe", also for
// channels of shards; or "" if it has nothing to do with channels.
func (v *Value) PushKind() string {
	if len(v.List) != 3 {
		return ""
	}
	kind := v.List[0].Text
	if isShardKind(kind) {
		kind = kind[1:]
	}
	switch kind {
	case "message", "subscribe", "unsubscribe":
		return kind
	}
	return ""
}

// Err returns v as an error, an Error, if the server has sent one, else nil.
func (v *Value) Err() error {
	if v.Kind == '-' || v.Kind == '!' {
		return Plainly(Error(v.Text))
	}
	return nil
}

// Read reads one value.
func Read(r *bufio.Reader) (Value, error) { return read(r, 0, nil) }

// ReadUsing is Read with a list that becomes that of the value if this is a push of RESP3,
// which nobody keeps.
func ReadUsing(list []Value, r *bufio.Reader) (Value, error) { return read(r, 0, list) }

func read(r *bufio.Reader, depth int, list []Value) (Value, error) {
	line, err := readLine(r)
	if err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, ErrProtocol
	}
	v := Value{Kind: line[0]}
	rest := line[1:]
	switch v.Kind {
	case '+', '-', ':', ',', '#', '_', '(':
		v.Text = string(rest)
		return v, nil
	case '$', '=', '!':
		n, err := strconv.Atoi(string(rest))
		if err != nil || n < -1 {
			return v, fmt.Errorf("%w: length %q", ErrProtocol, rest)
		}
		return v, v.readBulk(r, n)
	case '*', '>', '~', '%':
		n, err := strconv.Atoi(string(rest))
		if err != nil || n < -1 || n > maxArray || depth >= maxDepth {
			return v, fmt.Errorf("%w: array of length %q at depth %d", ErrProtocol, rest, depth)
		}
		if v.Kind == '%' {
			n *= 2
		}
		if v.Kind == '>' && n <= cap(list) {
			v.List = list[:0]
		} else if n > 0 {
			v.List = make([]Value, 0, min(n, 4))
		}
		for range n {
			e, err := read(r, depth+1, nil)
			if err != nil {
				return v, err
			}
			v.List = append(v.List, e)
		}
		return v, nil
	}
	return v, fmt.Errorf("%w: type %q", ErrProtocol, v.Kind)
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, r.Size())
		}
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("%w: a line without an end", ErrProtocol)
	}
	return line[:len(line)-2], nil
}

// readBulk reads the n bytes of a string and the end of line after them; -1 is
// the null string.
func (v *Value) readBulk(r *bufio.Reader, n int) error {
	if n < 0 {
		return nil
	}
	if n > maxBulk {
		v.Cut = true
		_, err := io.CopyN(io.Discard, r, int64(n)+2)
		return err
	}
	if n+2 > r.Size() {
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		v.Text = string(b[:n])
		return err
	}
	b, err := r.Peek(n + 2)
	if err != nil {
		return err
	}
	v.Text = textOf(b[:n])
	_, err = r.Discard(n + 2)
	return err
}

// textOf is string(b), without a copy of what comes all the time.
func textOf(b []byte) string {
	for _, s := range [...]string{"subscribe", "unsubscribe", "message"} {
		if string(b) == s {
			return s
		}
	}
	return string(b)
}

// IsWhole reports whether b begins with a whole value: Read would not wait for more.
func IsWhole(b []byte) bool {
	_, whole := cutValue(b, 0)
	return whole
}

// cutValue returns what comes after the value that b begins with, if all of that is
// there.
func cutValue(b []byte, depth int) (rest []byte, whole bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 2 || depth >= maxDepth {
		return nil, false
	}
	kind, size, rest := b[0], string(b[1:end-1]), b[end+1:]
	switch kind {
	case '$', '=', '!', '*', '>', '~', '%':
	default:
		return rest, true
	}
	n, err := strconv.Atoi(size)
	if err != nil {
		return nil, false
	}
	if kind == '$' || kind == '=' || kind == '!' {
		if n < 0 {
			return rest, true
		}
		if n > len(rest)-2 {
			return nil, false
		}
		return rest[n+2:], true
	}
	if kind == '%' {
		n *= 2
	}
	for whole = true; n > 0 && whole; n-- {
		rest, whole = cutValue(rest, depth+1)
	}
	return rest, whole
}

// AppendCommand appends a command to b.
func AppendCommand(b []byte, words ...string) []byte {
	b = appendHeader(b, len(words))
	for _, w := range words {
		b = appendBulk(b, w)
	}
	return b
}

func appendHeader(b []byte, words int) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(words), 10)
	return append(b, '\r', '\n')
}

func appendBulk(b []byte, w string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(w)), 10)
	b = append(b, '\r', '\n')
	b = append(b, w...)
	return append(b, '\r', '\n')
}
