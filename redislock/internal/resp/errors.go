package resp

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// An Error is what a server says when it refuses something.
type Error string

func (e Error) Error() string { return string(e) }

// ErrDemoted is matched by the error of what has ended as IsDemotion.
var ErrDemoted = errors.New("the server is not the primary any more")

// placeInScript is what a server says of where in a script an error has come about, and
// before Redis 7 that it has.
var placeInScript = regexp.MustCompile(`^ERR Error running script \(call to f_[0-9a-f]{40}\): |@user_script: ?[0-9]+: | script: [0-9a-f]{40}, on @user_script:[0-9]+\.$`)

// Plainly returns an error without what a server repeats of a command that it does not
// know: of AUTH, that is the password; and without where in a script it has come about.
func Plainly(err error) error {
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), ", with args")
	text = placeInScript.ReplaceAllString(text, "")
	if text == err.Error() {
		return err
	}
	return Error(text)
}

// said returns what a server says, or "", if it is no server that says it: read here, or
// by go-redis.
func said(err error) string {
	var ours Error
	var theirs interface {
		error
		RedisError()
	}
	switch {
	case errors.As(err, &ours):
		return string(ours)
	case errors.As(err, &theirs):
		return theirs.Error()
	}
	return ""
}

// Code returns the first word of what a server says, such as READONLY, also where that
// was said to a command of a script; or "", if it is no server that says it. Of an error
// without a code (ERR), it is the first word after that.
func Code(err error) string {
	text := said(err)
	if _, inScript, ok := strings.Cut(text, "' in a script: "); ok {
		text = strings.TrimPrefix(inScript, "-") // as before Redis 7
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(text, "ERR "), " ") // Kvrocks puts it before all others
	return code
}

// IsDemotion reports whether a server says that it is a replica, or will be one soon. It
// was the primary when the session began: others take its locks at the next one.
func IsDemotion(err error) bool {
	switch Code(err) {
	case "READONLY", "MASTERDOWN", "LOADING":
		return true
	}
	return false
}

// IsFull reports whether a server refuses to write for a reason that may pass, and that is
// none to lose locks for: it was reached.
func IsFull(err error) bool {
	switch Code(err) {
	case "OOM", "MISCONF", "NOREPLICAS":
		return true
	}
	return false
}

// IsRedirect reports whether a server says that it does not have the slot, or that
// it is about to give it away.
func IsRedirect(err error) bool {
	switch Code(err) {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN":
		return true
	}
	return false
}

// IsUnknown reports whether a server says that it does not know a command.
func IsUnknown(err error) bool {
	text := said(err)
	if text == "" || Code(err) == "NOPERM" { // which names the user, too
		return false
	}
	return slices.ContainsFunc([]string{"unknown", "Unknown", "not supported", "unsupported"}, func(word string) bool {
		return strings.Contains(err.Error(), word)
	})
}

// IsKeyDenied reports whether an ACL denies a key, in the words of any version: "this user
// has no permissions to access one of the keys", "No permissions to access a key".
func IsKeyDenied(err error) bool {
	return Code(err) == "NOPERM" && strings.Contains(err.Error(), "permissions to access ")
}
