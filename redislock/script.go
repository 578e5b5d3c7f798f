package redislock

import (
	"crypto/sha1" //nolint:gosec // the name of a script in Redis, not a secret
	_ "embed"
	"encoding/hex"
)

// A script is Lua that Redis runs as one atomic step.
type script struct {
	text string
	sha  string // its name for EVALSHA
}

//go:embed lua/common.lua
var commonLua string

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

var (
	claimScript   = newScript(claimLua)
	lookScript    = newScript(lookLua)
	releaseScript = newScript(releaseLua)
	leaveScript   = newScript(leaveLua)
	forgetScript  = newScript(forgetLua)
)

func newScript(text string) *script {
	text = commonLua + text
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}
