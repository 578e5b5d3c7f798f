package protocol

import (
	"crypto/sha1" //nolint:gosec // the name of a script in Redis, not a secret
	"embed"
	"encoding/hex"
	"strconv"
	"sync"

	"github.com/golocker/locker/redislock/internal/resp"
)

//go:embed lua
var lua embed.FS

// A script is Lua that Redis runs as one atomic step: in a Cluster, with the
// channels of shards.
type script struct {
	plain, sharded func() code // made when it is first used, as not every program that can use Redis does
}

type code struct {
	text string
	sha  string // its name for EVALSHA
}

var (
	claimScript   = newScript("free", "common", "claim")
	lookScript    = newScript("common", "look")
	releaseScript = newScript("give", "common", "release")
	leaveScript   = newScript("common", "leave")
	forgetScript  = newScript("common", "forget")
	inspectScript = newScript("common", "inspect")
	renewScript   = newScript("common", "renew")
)

// newScript returns a script that is made of files.
func newScript(files ...string) *script {
	in := func(sharded bool) func() code {
		return sync.OnceValue(func() code {
			text := "local sharded = " + strconv.FormatBool(sharded) + "\n"
			for _, f := range files {
				part, err := lua.ReadFile("lua/" + f + ".lua")
				if err != nil {
					panic(err) // it is not embedded
				}
				text += string(part)
			}
			sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
			return code{text: text, sha: hex.EncodeToString(sum[:])}
		})
	}
	return &script{in(false), in(true)}
}

// A Call is a script that is to run, with its keys and arguments.
type Call struct {
	words []string // of the command that has it run by its name
	text  string
}

// call returns the call of a script about the lock of a channel, with what comes after the
// channel in its arguments.
func (s Scheme) call(sc *script, channel string, args ...string) Call {
	c := sc.plain
	if s.Sharded {
		c = sc.sharded
	}
	code := c()
	const before, keys = 3, 6
	words := make([]string, before, before+keys+1+len(args))
	words = s.appendKeys(words, channel)
	words[0], words[1], words[2] = "EVALSHA", code.sha, strconv.Itoa(len(words)-before)
	words = append(append(words, channel), args...)
	return Call{words, code.text}
}

// ByName returns the command that has the server run the script, if it knows it: else it
// says so, see IsUnknownScript.
func (c Call) ByName() []string { return c.words }

// ByText returns the command that has the server run the script, and know it from then on.
func (c Call) ByText() []string {
	return append([]string{"EVAL", c.text}, c.words[2:]...)
}

// IsUnknownScript reports whether a server does not know a script.
func IsUnknownScript(err error) bool {
	return resp.Code(err) == "NOSCRIPT"
}
