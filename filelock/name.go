package filelock

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	maxFileName  = 140  // bytes; eCryptfs allows 143
	prefixLength = 60   // bytes that remain of the name of a longer one
	hashMark     = "+h" // before the hash
	hexDigits    = "0123456789abcdef"
)

// fileName returns the name of a lock's file. Two locks never have the same,
// also where the file system takes upper and lower case for the same, and it is
// a plain name on every system.
func fileName(name string) string {
	escaped, upper := escape(name)
	switch {
	case len(escaped) > maxFileName:
		return hashed(name, escaped)
	case !upper:
		return escaped
	}
	cased := escaped + "+c" + letterCase(name)
	if len(cased) > maxFileName {
		return hashed(name, escaped)
	}
	return cased
}

// escape writes as %xx what is no letter, digit, '-', '_' or '.', a '.' at the
// end, which Windows strips, and the first byte of a Windows device. upper
// reports whether the name has upper-case letters.
func escape(name string) (escaped string, upper bool) {
	device := isDevice(name)
	plain := !device
	for i := range len(name) {
		upper = upper || isUpper(name[i])
		plain = plain && isPlain(name, i)
	}
	if plain {
		return name, upper
	}
	b := make([]byte, 0, 3*len(name))
	for i := range len(name) {
		if c := name[i]; isPlain(name, i) && (i > 0 || !device) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b), upper
}

func isPlain(name string, i int) bool {
	switch c := name[i]; {
	case isLetter(c), '0' <= c && c <= '9', c == '-', c == '_':
		return true
	case c == '.':
		return i < len(name)-1
	default:
		return false
	}
}

func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool { return isUpper(c) || 'a' <= c && c <= 'z' }

// isDevice reports whether Windows takes a file of this name for a device, in
// every directory and with any extension. (CONIN$ and CONOUT$ are none any more
// when their $ is escaped.)
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	switch len(stem) {
	case 3:
		return strings.EqualFold(stem, "con") || strings.EqualFold(stem, "prn") ||
			strings.EqualFold(stem, "aux") || strings.EqualFold(stem, "nul")
	case 4:
		return '0' <= stem[3] && stem[3] <= '9' &&
			(strings.EqualFold(stem[:3], "com") || strings.EqualFold(stem[:3], "lpt"))
	default:
		return false
	}
}

// letterCase returns, in hex, one bit for each letter of a name: 1 for an
// upper-case one. The first letter is the highest bit of the first digit.
func letterCase(name string) string {
	b := make([]byte, 0, len(name)/4+1)
	letters, digit := 0, 0
	for i := range len(name) {
		if !isLetter(name[i]) {
			continue
		}
		if isUpper(name[i]) {
			digit |= 8 >> (letters % 4)
		}
		if letters++; letters%4 == 0 {
			b = append(b, hexDigits[digit])
			digit = 0
		}
	}
	if letters%4 != 0 {
		b = append(b, hexDigits[digit])
	}
	return string(b)
}

// hashed returns the file name of a long lock name, with no %xx cut in two.
func hashed(name, escaped string) string {
	prefix := escaped[:min(prefixLength, len(escaped))]
	if i := strings.LastIndexByte(prefix, '%'); i >= 0 && i > len(prefix)-3 {
		prefix = prefix[:i]
	}
	sum := sha256.Sum256([]byte(name))
	return prefix + hashMark + hex.EncodeToString(sum[:])
}

// isHashed reports whether a path does not tell the whole name of its lock.
func isHashed(path string) bool {
	i := len(path) - 2*sha256.Size - len(hashMark)
	return i >= 0 && path[i:i+len(hashMark)] == hashMark
}
