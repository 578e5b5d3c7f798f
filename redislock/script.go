package redislock

import (
	"crypto/sha1" //nolint:gosec // the name of a script in Redis, not a secret
	_ "embed"
	"encoding/hex"
)

// A script is Lua that Redis runs as one atomic step: in a Cluster, with the
// channels of shards.
type script struct {
	plain, sharded code
}

type code struct {
	text string
	sha  string // its name for EVALSHA
}

//go:embed lua/common.lua
var commonLua string

//go:embed lua/free.lua
var freeLua string

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

//go:embed lua/beat.lua
var beatLua string

var (
	claimScript   = newScript(freeLua + commonLua + claimLua)
	lookScript    = newScript(commonLua + lookLua)
	releaseScript = newScript(commonLua + releaseLua)
	leaveScript   = newScript(commonLua + leaveLua)
	forgetScript  = newScript(commonLua + forgetLua)
	inspectScript = newScript(commonLua + inspectLua)
	beatScript    = newScript(commonLua + beatLua)
)

func newScript(text string) *script {
	return &script{newCode("local sharded = false\n" + text), newCode("local sharded = true\n" + text)}
}

func newCode(text string) code {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return code{text: text, sha: hex.EncodeToString(sum[:])}
}

// on returns what is to run on a node.
func (s *script) on(n *node) code {
	if n.shard != nil {
		return s.sharded
	}
	return s.plain
}
