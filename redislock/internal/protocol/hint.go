package protocol

import (
	"strconv"
	"strings"
	"time"
)

// A Hint is a value of the holder key, see lua/common.lua: who holds a lock, or has held it
// last, as far as is known.
type Hint struct {
	SID, Token, Client, PID, Host string // "-" in the last three: not known
	Since                         int64  // microseconds of Unix time
}

// ParseHint parses a value of the holder key, or a session's id alone.
func ParseHint(value string) Hint {
	f := strings.Fields(value)
	if len(f) == 1 {
		return Hint{SID: f[0]}
	}
	f = append(f, "", "", "", "", "", "", "", "", "")
	since, _ := strconv.ParseInt(f[4], 10, 64)
	return Hint{SID: f[0], Token: f[1], Client: f[5], PID: f[7], Host: f[8], Since: since}
}

// Holds reports whether h names a session that has won the lock.
func (h Hint) Holds() bool { return IsSessionID(h.SID) && h.Token != "0" }

// MayBe reports whether now, as far as is known, is the hold that h was: its hint may have
// been lost or restored meanwhile.
func (h Hint) MayBe(now Hint) bool {
	known := func(token string) bool { return token != "" && token != "0" }
	return now.SID == "" || now.SID == h.SID && (now.Token == h.Token || !known(now.Token) || !known(h.Token))
}

// An About is what a hint says of a session, whatever it holds: "CLIENT TIMEOUT PID HOST".
type About string

// NewAbout returns what is to be said of a session: the id of its connection, its
// UnavailableTimeout, and the id of the process and the name of its machine, "" for unknown.
func NewAbout(client string, timeout time.Duration, pid int, host string) About {
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, host)
	if host == "" {
		host = "-"
	}
	return About(client + " " + microseconds(timeout) + " " + strconv.Itoa(pid) + " " + host)
}

func microseconds(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
