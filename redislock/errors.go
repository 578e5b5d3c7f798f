package redislock

import (
	"errors"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What a server says when it refuses something.

// placeInScript is what a server says of where in a script an error has come about, and
// before Redis 7 that it has.
var placeInScript = regexp.MustCompile(`^ERR Error running script \(call to f_[0-9a-f]{40}\): |@user_script: ?[0-9]+: | script: [0-9a-f]{40}, on @user_script:[0-9]+\.$`)

// plainly returns an error without what a server repeats of a command that it does not
// know: of AUTH, that is the password; and without where in a script it has come about.
func plainly(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), ", with args")
	text = placeInScript.ReplaceAllString(text, "")
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
		text = strings.TrimPrefix(inScript, "-") // as before Redis 7
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
