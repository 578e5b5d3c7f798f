package locktest

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golocker/locker"
)

func (s suite) names(t *testing.T) {
	s.test(t, "EachIsALockOfItsOwn", namesAreLocks)
	s.test(t, "EachExcludesItself", namesExclude)
}

// odd are names that a backend might take for something else, or for each other.
func odd() []string {
	long := strings.Repeat("x", 1023)
	return []string{
		"job", "Job", "JOB", "jobs", "jobs ", "jobs.", "jobs/", "/jobs", "jobs/a", "jobs\\a", "jobs-a", "jobs_a", "jobs%2Fa",
		"jobs:w", "jobs:h", "jobs:t", "jobs-fence", "jobs-holder", "jobs.lock", "jobs.token", "jobs~", "#jobs", "{jobs}", "{jobs", "jobs}", "{}jobs",
		".", "..", "...", "~", "-", "--", "-rf", "_", "../../etc/passwd", "/etc/passwd", "//",
		" ", "  ", "\t", "\n", "\r\n", "a\nb", "a\x00b", "\x00", "\x7f", "\x1b[2J", "a b",
		"*", "?", "[a-z]?", "%", "%s", "%00", "$HOME", "`id`", "'", "\"", "\\", ";", "|", "&", "<", ">", "=",
		"{a}", "{", "}", "{}", "a", "A",
		"CON", "con", "nul", "aux.txt", "com1",
		"caf\u00e9", "cafe\u0301", "CAF\u00c9", "\u00df", "ss", "\u0130", "i\u0307", "\U0001f512", "\u200b", "\u202e", "\ufeff", "\u65e5\u672c\u8a9e",
		long + "x", long + "y", long, "y" + long, strings.Repeat("\u65e5", 1024/utf8.RuneLen('\u65e5')),
		strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat(".", 1024), strings.Repeat("/", 1024),
	}
}

// namesAreLocks holds all of them at the same time.
func namesAreLocks(p *place) {
	l := p.open()
	var locks []locker.Lock
	for _, name := range odd() {
		lock, err := p.try(l, name)
		if err != nil {
			p.Errorf("Acquire(%.70q), while other locks are held = %v, want the lock", name, err)
			continue
		}
		if lock.Name() != name {
			p.Errorf("Name() = %q, want %q", lock.Name(), name)
		}
		locks = append(locks, lock)
	}
	for _, lock := range locks {
		p.isOpen(lock)
		p.release(lock)
	}
}

// namesExclude holds all of them against another Locker, and frees one after the
// other.
func namesExclude(p *place) {
	a, b := p.open(), p.open()
	var locks []locker.Lock
	for _, name := range odd() {
		locks = append(locks, p.acquire(a, name))
	}
	for _, lock := range locks {
		p.isHeld(b, lock.Name())
	}
	for i, lock := range locks {
		p.release(lock)
		p.isFree(b, lock.Name())
		if i+1 < len(locks) {
			p.isHeld(b, locks[i+1].Name())
		}
	}
}
