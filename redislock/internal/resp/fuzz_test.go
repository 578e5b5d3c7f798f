package resp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

// Whatever a server sends is read, or an error.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "*-1\r\n", "_\r\n",
		">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$0\r\n\r\n", "%1\r\n+a\r\n+b\r\n", "$70000\r\n", "*99999999999\r\n", "*1\r\n*1\r\n*1\r\n", "\r\n", "$x\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := bufio.NewReaderSize(strings.NewReader(text), 64)
		for {
			v, err := Read(r)
			if err != nil {
				return
			}
			if len(v.Text) > maxBulk || len(v.List) > maxArray*2 {
				t.Errorf("read %d bytes, %d elements", len(v.Text), len(v.List))
			}
			v.IsPush(true)
			v.IsPush(false)
			v.PushKind()
		}
	})
}

// What is said to be a whole value is read without more data, as much of it.
func FuzzCutValue(f *testing.F) {
	for _, text := range []string{
		"", "+OK\r\n", "$2\r\nab\r\n+", "$-1\r\n", "*-1\r\n", "*2\r\n$1\r\na\r\n", ">3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$4\r\nwake\r\n>",
		"%1\r\n+a\r\n:1\r\n", strings.Repeat("*1\r\n", 20), "$99999999999999999999\r\n", "\n", "+\n", "$3\r\nab\r\n", "~1\r\n_\r\n", "$70000\r\nxx",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest, whole := cutValue([]byte(text), 0)
		if !whole {
			return
		}
		from := strings.NewReader(text)
		r := bufio.NewReader(from)
		_, err := Read(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q is not whole: %v", text, err)
		}
		if left := r.Buffered() + from.Len(); err == nil && left != len(rest) {
			t.Errorf("%q: %d bytes are left, not %d", text, left, len(rest))
		}
	})
}
