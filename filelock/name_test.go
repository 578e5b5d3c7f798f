package filelock

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golocker/locker"
)

func TestFileName(t *testing.T) {
	tests := []struct{ lock, file string }{
		{"nightly-report", "nightly-report"},
		{"a_b.c-9", "a_b.c-9"},
		{".hidden", ".hidden"},
		{"a/b", "a%2fb"},
		{`a\b`, "a%5cb"},
		{"a b+c%d", "a%20b%2bc%25d"},
		{"\x00\x1f\x7f", "%00%1f%7f"},
		{"é", "%c3%a9"},
		{".", "%2e"},
		{"..", ".%2e"},
		{"../etc/passwd", "..%2fetc%2fpasswd"},
		{"name.", "name%2e"},
		{"name ", "name%20"},
		{"A", "A+c8"},
		{"nightlyReport", "nightlyReport+c0100"},
		{"READ-me", "READ-me+cf0"},
		{"con", "%63on"},
		{"CON", "%43ON+ce"},
		{"nul.txt", "%6eul.txt"},
		{"aux.tar.gz", "%61ux.tar.gz"},
		{"com1", "%63om1"},
		{"Lpt9.x", "%4cpt9.x+c8"},
		{"COM¹", "COM%c2%b9+ce"},
		{"CONIN$", "CONIN%24+cf8"},
		{"console", "console"},
		{"com10", "com10"},
		{"com", "com"},
		{strings.Repeat("a", 140), strings.Repeat("a", 140)},
		{strings.Repeat("a", 141), strings.Repeat("a", 60) + "+h"},
		{strings.Repeat("/", 100), strings.Repeat("%2f", 20) + "+h"},
		{"a" + strings.Repeat("/", 100), "a" + strings.Repeat("%2f", 19) + "+h"},
	}
	for _, test := range tests {
		got := fileName(test.lock)
		if prefix, _, hashed := strings.Cut(test.file, "+h"); hashed {
			if rest, ok := strings.CutPrefix(got, prefix+"+h"); !ok || len(rest) != 64 {
				t.Errorf("fileName(%q) = %q, want %q and a hash", test.lock, got, prefix)
			}
		} else if got != test.file {
			t.Errorf("fileName(%q) = %q, want %q", test.lock, got, test.file)
		}
	}
}

func TestFileNamesAreDistinct(t *testing.T) {
	long := strings.Repeat("x", 200)
	names := []string{
		"a", "A", "aa", "aA", "Aa", "AA", "a.", "a..", "a%2e", "a%2E", "A%2E", "a+c8", "A+c8", "a+i", ".", "..", "%2e",
		"con", "CON", "Con", "cOn", "coN", "%63on", "con.", "con.txt", "CON.TXT", "nul", "nul ", "NUL",
		"é", "É", "e\u0301", "ß", "ss", "SS", "K", "\u212a", "a/b", "a\\b", "a:b", "a b", "a%20b",
		long, long + "x", strings.ToUpper(long), "X" + long[1:], strings.Repeat("/", 60), strings.Repeat("/", 61),
		fileName(long), strings.Repeat("A", 130), strings.Repeat("a", 130), strings.Repeat("A", 120), strings.Repeat("a", 120),
	}
	locks := make(map[string]string)
	for _, name := range names {
		folded := strings.ToLower(fileName(name))
		if other, ok := locks[folded]; ok {
			t.Errorf("%q and %q have the same file: %q", name, other, folded)
		}
		locks[folded] = name
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"a", "A", "con.txt", "..", "a/b", "é", "x+c8", strings.Repeat("Ä", 100), strings.Repeat("/", 61)} {
		f.Add(name, strings.ToUpper(name))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" {
			return // ErrInvalid
		}
		file := fileName(a)
		for _, c := range []byte(file) {
			if c <= ' ' || c > '~' || strings.IndexByte(`<>:"/\|?*`, c) >= 0 {
				t.Errorf("fileName(%q) = %q has a byte %q", a, file, c)
			}
		}
		if len(file) > maxFileName || strings.HasSuffix(file, ".") || isDevice(file) || strings.HasSuffix(file, "+i") {
			t.Errorf("fileName(%q) = %q is no good", a, file)
		}
		if other := fileName(b); a != b && strings.EqualFold(file, other) {
			t.Errorf("%q and %q have the same file: %q, %q", a, b, file, other)
		}
	})
}

// FuzzName acquires two locks of any names: an invalid one touches nothing, and
// each other has a file of its own in the directory.
func FuzzName(f *testing.F) {
	for _, name := range []string{
		"", "a", "A", "..", "../a", "a/b", `..\a`, "a\x00b", "\xff", "é", "con.txt", "nul", "-rf", "a+i", "a+c8", " a ", "a.",
		strings.Repeat("x", 255), strings.Repeat("é", 512), strings.Repeat("/", 1024), strings.Repeat("x", 1025),
	} {
		f.Add(name, strings.ToUpper(name))
		f.Add(name, fileName(name))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		dir := t.TempDir()
		l, _ := open(t, dir, locker.WithTimeout(0))
		want := make(map[string]bool)
		for _, name := range []string{a, b} {
			lock, err := l.Acquire(t.Context(), name)
			switch {
			case name == "" || len(name) > 1024 || !utf8.ValidString(name):
				if !errors.Is(err, locker.ErrInvalid) {
					t.Errorf("Acquire(%q) = %v, want ErrInvalid", name, err)
				}
			case want[fileName(name)]:
				if a != b || !errors.Is(err, locker.ErrAlreadyLocked) {
					t.Errorf("Acquire(%q) = %v after %q", name, err, a)
				}
			case err != nil:
				t.Error(err)
			default:
				want[fileName(name)] = true
				defer release(t, lock)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		for _, entry := range entries {
			name, isRecord := strings.CutSuffix(entry.Name(), "+i") // next to the lock file, on some systems
			if !want[name] || !entry.Type().IsRegular() {
				t.Errorf("%q and %q made %v", a, b, entry)
			}
			if !isRecord {
				files++
			}
		}
		if files != len(want) {
			t.Errorf("%q and %q made %d files, want %d", a, b, files, len(want))
		}
	})
}
