package filelock

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordIsALineOfJSON(t *testing.T) {
	b := appendRecord(nil, record{token: 1732385415123456, pid: 123, host: "web-1", since: time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC)})
	want := `{"token":1732385415123456,"pid":123,"host":"web-1","since":"2026-01-02T15:04:05.678Z","sum":"`
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("record is %q, want it to begin with %q", b, want)
	}
	if len(b) != recordSize || b[recordSize-1] != '\n' || bytes.Count(b, []byte("\n")) != 1 {
		t.Errorf("record is no line of %d bytes: %q", recordSize, b)
	}
	var fields struct {
		Token uint64
		PID   int
		Host  string
		Since time.Time
		Sum   string
	}
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Error(err)
	}
}

func TestRecordFits(t *testing.T) {
	r := record{token: maxToken, pid: math.MaxInt32, host: cleanHost(strings.Repeat("é", 1000)), since: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)}
	b := appendRecord(nil, r)
	if len(b) != recordSize {
		t.Fatalf("%d bytes: %q", len(b), b)
	}
	got, ok := parseRecord(b)
	if diff := cmp.Diff(r, got, cmp.AllowUnexported(record{})); !ok || diff != "" {
		t.Error(ok, diff)
	}
}

func TestForeignContentIsNoRecord(t *testing.T) {
	valid := appendRecord(nil, record{token: 5, pid: 1, host: "h", since: time.Unix(0, 0)})
	changed := bytes.Clone(valid)
	changed[9]++
	tests := map[string][]byte{
		"nothing":            nil,
		"a pid file":         []byte("123\n"),
		"garbage":            bytes.Repeat([]byte{0xff}, 1000),
		"zeros":              make([]byte, recordSize),
		"the beginning":      valid[:100],
		"all but the end":    valid[:recordSize-1],
		"a changed digit":    changed,
		"no sum":             bytes.Replace(valid, []byte("sum"), []byte("mus"), 1),
		"a token of no time": appendRecord(nil, record{token: maxToken + 1, since: time.Unix(0, 0)}),
		"the last token":     appendRecord(nil, record{token: math.MaxUint64, since: time.Unix(0, 0)}),
	}
	for name, content := range tests {
		if r, ok := parseRecord(content); ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r, ok := parseRecord(append(bytes.Clone(valid), "more"...)); !ok || r.token != 5 {
		t.Errorf("a record and more: %+v, %v", r, ok)
	}
}

func TestNextTokenIsGreater(t *testing.T) {
	now := time.UnixMicro(1732385415123456)
	for _, last := range []uint64{0, 5, 1732385415123455, 1732385415123456, 1732385415123457, maxToken} {
		if got := nextToken(last, now); got <= last || got < uint64(now.UnixMicro()) {
			t.Errorf("nextToken(%d) = %d", last, got)
		}
	}
	if got := nextToken(7, time.UnixMicro(-5)); got != 8 {
		t.Errorf("nextToken(7) = %d before 1970", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(uint64(1732385415123456), 123, "web-1", int64(1732385415123456), []byte("123\n"))
	f.Add(uint64(0), 0, "\"\\\n", int64(0), appendRecord(nil, record{token: 1, pid: 2, host: "h", since: time.Unix(3, 4)}))
	f.Fuzz(func(t *testing.T, token uint64, pid int, host string, micros int64, content []byte) {
		if r, ok := parseRecord(content); ok && r.token > maxToken {
			t.Errorf("token %d", r.token)
		}
		r := record{
			token: token % (maxToken + 1),
			pid:   pid & math.MaxInt32,
			host:  cleanHost(host),
			since: time.UnixMicro(micros % 253402300799e6).UTC(), // until 9999
		}
		if r.since.Year() < 0 {
			return
		}
		b := appendRecord(nil, r)
		got, ok := parseRecord(b)
		if diff := cmp.Diff(r, got, cmp.AllowUnexported(record{})); !ok || diff != "" || len(b) != recordSize || !json.Valid(b) {
			t.Errorf("%q: %v %s", b, ok, diff)
		}
		if len(content) > 0 {
			b[int(content[0])%bytes.Index(b, []byte(`,"sum"`))] ^= content[0] | 1
			if _, ok := parseRecord(b); ok {
				t.Errorf("%q does not match its sum", b)
			}
		}
	})
}
