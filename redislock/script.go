package redislock

import (
	"crypto/sha1" //nolint:gosec // the name of a script in Redis, not a secret
	_ "embed"
	"encoding/hex"
	"strings"
	"sync"
)

// A script is Lua that Redis runs as one atomic step: in a Cluster, with the
// channels of shards.
type script struct {
	plain, sharded func() code // made when it is first used, as not every program that can use Redis does
}

type code struct {
	text string
	sha  string // its name for EVALSHA
}

//go:embed lua/common.lua
var commonLua string

//go:embed lua/free.lua
var freeLua string

//go:embed lua/give.lua
var giveLua string

//go:embed lua/claim.lua
var claimLua string

//go:embed lua/look.lua
var lookLua string

//go:embed lua/release.lua
var releaseLua string

//go:embed lua/leave.lua
var leaveLua string

//go:embed lua/forget.lua
var forgetLua string

//go:embed lua/inspect.lua
var inspectLua string

//go:embed lua/renew.lua
var renewLua string

var (
	claimScript   = newScript(freeLua, commonLua, claimLua)
	lookScript    = newScript(commonLua, lookLua)
	releaseScript = newScript(giveLua, commonLua, releaseLua)
	leaveScript   = newScript(commonLua, leaveLua)
	forgetScript  = newScript(commonLua, forgetLua)
	inspectScript = newScript(commonLua, inspectLua)
	renewScript   = newScript(commonLua, renewLua)
)

// newScript returns a script that is made of parts.
func newScript(parts ...string) *script {
	in := func(sharded string) func() code {
		return sync.OnceValue(func() code {
			return newCode("local sharded = " + sharded + "\n" + strings.Join(parts, ""))
		})
	}
	return &script{in("false"), in("true")}
}

func newCode(text string) code {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return code{text: text, sha: hex.EncodeToString(sum[:])}
}

// on returns what is to run on a node.
func (s *script) on(n *node) code {
	if n.shard != nil {
		return s.sharded()
	}
	return s.plain()
}
