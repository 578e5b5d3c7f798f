package redislock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// RESP, the protocol of Redis, versions 2 and 3: as much as a session needs.
// https://redis.io/docs/latest/develop/reference/protocol-spec/

const (
	maxBulk  = 1 << 16 // bytes of a string that are kept; what a lock needs is far shorter
	maxDepth = 8       // of arrays in arrays
	maxArray = 1 << 16 // elements
)

var errProtocol = errors.New("unexpected data from the server")

// A serverError is an error reply.
type serverError string

func (e serverError) Error() string { return string(e) }

// A reply is a value that the server has sent.
type reply struct {
	kind byte // its first byte on the wire
	text string
	list []reply
	cut  bool // a string that was longer than maxBulk: text is empty
}

// isPush reports whether r is a message or a confirmation, not an answer to a
// command: in RESP3 it is marked, in RESP2 known by its first word.
func (r *reply) isPush(resp3 bool) bool {
	if r.kind == '>' {
		return true
	}
	if resp3 || r.kind != '*' || len(r.list) == 0 {
		return false
	}
	switch kind := r.list[0].text; kind {
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

func (r *reply) err() error {
	if r.kind == '-' || r.kind == '!' {
		return plainly(serverError(r.text))
	}
	return nil
}

// readReply reads one value.
func readReply(r *bufio.Reader, depth int) (reply, error) { return readReplyWith(r, depth, nil) }

// readReplyWith is readReply with a list to use for a push of RESP3, which nobody keeps.
func readReplyWith(r *bufio.Reader, depth int, list []reply) (reply, error) {
	line, err := readLine(r)
	if err != nil {
		return reply{}, err
	}
	if len(line) == 0 {
		return reply{}, errProtocol
	}
	v := reply{kind: line[0]}
	rest := line[1:]
	switch v.kind {
	case '+', '-', ':', ',', '#', '_', '(':
		v.text = string(rest)
		return v, nil
	case '$', '=', '!':
		n, err := strconv.Atoi(string(rest))
		if err != nil || n < -1 {
			return v, fmt.Errorf("%w: length %q", errProtocol, rest)
		}
		return v, v.readBulk(r, n)
	case '*', '>', '~', '%':
		n, err := strconv.Atoi(string(rest))
		if err != nil || n < -1 || n > maxArray || depth >= maxDepth {
			return v, fmt.Errorf("%w: array of length %q at depth %d", errProtocol, rest, depth)
		}
		if v.kind == '%' {
			n *= 2
		}
		if v.kind == '>' && n <= cap(list) {
			v.list = list[:0]
		} else if n > 0 {
			v.list = make([]reply, 0, min(n, 4))
		}
		for range n {
			e, err := readReply(r, depth+1)
			if err != nil {
				return v, err
			}
			v.list = append(v.list, e)
		}
		return v, nil
	}
	return v, fmt.Errorf("%w: type %q", errProtocol, v.kind)
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = fmt.Errorf("%w: a line of more than %d bytes", errProtocol, r.Size())
		}
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("%w: a line without an end", errProtocol)
	}
	return line[:len(line)-2], nil
}

// readBulk reads the n bytes of a string and the end of line after them; -1 is
// the null string.
func (v *reply) readBulk(r *bufio.Reader, n int) error {
	if n < 0 {
		return nil
	}
	if n > maxBulk {
		v.cut = true
		_, err := io.CopyN(io.Discard, r, int64(n)+2)
		return err
	}
	if n+2 > r.Size() {
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		v.text = string(b[:n])
		return err
	}
	b, err := r.Peek(n + 2)
	if err != nil {
		return err
	}
	v.text = textOf(b[:n])
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

// appendCommand appends a command to b.
func appendCommand(b []byte, words ...string) []byte {
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
