package redislock

// The keys of a lock begin with its channel, see lua/common.lua.
const (
	keyFence   = ":locker:fence"
	keyHolder  = ":locker:holder"
	keyQueue   = ":locker:queue"
	keyYield   = ":locker:yield"
	keyStandby = ":locker:standby"

	keyCounter = "-fence" // portalocker's: with PortalockerNames alone
)

// expiry is how many seconds a key is kept after its last use.
const expiry = "3600"

// keysOf returns the keys of a lock, cut out of one string. They are not kept: a session
// may hold thousands of locks.
func (n *node) keysOf(channel string) []string {
	all := channel + keyFence + channel + keyHolder + channel + keyQueue + channel + keyYield + channel + keyStandby
	cut := func(suffix string) (key string) {
		key, all = all[:len(channel)+len(suffix)], all[len(channel)+len(suffix):]
		return key
	}
	keys := []string{cut(keyFence), cut(keyHolder), cut(keyQueue), cut(keyYield), cut(keyStandby)}
	if n.options.PortalockerNames {
		keys = append(keys, channel+keyCounter)
	}
	return keys
}
