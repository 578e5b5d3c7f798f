package redislock

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What a server says when it refuses something.

// plainly returns an error without what a server repeats of a command that it does not
// know: of AUTH, that is the password; and without where in a script it has come about.
func plainly(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), ", with args")
	if at := strings.LastIndex(text, " script: "); at >= 0 && strings.Contains(text[at:], "@user_script") {
		text = text[:at]
	}
	if _, rest, ok := strings.Cut(text, "Error running script (call to "); ok { // before Redis 7
		_, text, _ = strings.Cut(rest, "): ")
	}
	if text == err.Error() {
		return err
	}
	return serverError(text)
}

// codeOf returns the first word of what a server says, such as READONLY, also where that
// was said to a command of a script; or "", if it is no server that says it.
func codeOf(err error) string {
	var ours serverError
	var theirs redis.Error
	var text string
	switch {
	case errors.As(err, &ours):
		text = string(ours)
	case errors.As(err, &theirs):
		text = theirs.Error()
	}
	if _, inScript, ok := strings.Cut(text, "' in a script: "); ok {
		text = inScript
	}
	code, _, _ := strings.Cut(text, " ")
	return code
}

// isDemotion reports whether a server says that it is a replica, or will be one soon. It
// was the primary when the session began: others take its locks at the next one.
func isDemotion(err error) bool {
	switch codeOf(err) {
	case "READONLY", "MASTERDOWN", "LOADING":
		return true
	}
	return false
}

// isFull reports whether a server refuses to write for a reason that may pass, and that is
// none to lose locks for: it was reached.
func isFull(err error) bool {
	switch codeOf(err) {
	case "OOM", "MISCONF", "NOREPLICAS":
		return true
	}
	return false
}
