package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Slots is how many a Redis Cluster has.
// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
const Slots = 16384

// Slot returns the slot of a key or a channel.
func Slot(key string) int {
	if tag, ok := hashTag(key); ok {
		key = tag
	}
	var crc uint16 // CRC-16/XMODEM
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % Slots)
}

// hashTag returns the part of a key that its slot is made of, if that is not all of
// it: what is between the first { and the first } after it, unless that is nothing.
func hashTag(key string) (string, bool) {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return "", false
	}
	tag, _, ok := strings.Cut(rest, "}")
	return tag, ok && tag != ""
}

// clusterChannel returns the channel of a lock in a Cluster. It has a hash tag, so
// that all keys and channels that begin with it share its slot: that of the name,
// or one that is made of the name. No two names have the same.
func clusterChannel(name string) string {
	if _, ok := hashTag(name); ok {
		if isWrapped(name) { // "{a}" is the channel of "a", so that of "{a}" is "{a}{}"
			return name + "{}"
		}
		return name
	}
	if !strings.Contains(name, "}") {
		return "{" + name + "}"
	}
	sum := sha256.Sum256([]byte(name))
	return "{" + hex.EncodeToString(sum[:16]) + "}" + name
}

// clusterName is the reverse of clusterChannel.
func clusterName(channel string) (name string, ok bool) {
	inner := strings.TrimSuffix(strings.TrimPrefix(channel, "{"), "}")
	_, hashed, _ := strings.Cut(channel, "}")
	for _, name := range []string{hashed, inner, strings.TrimSuffix(channel, "{}"), channel} {
		if name != "" && clusterChannel(name) == channel {
			return name, true
		}
	}
	return "", false
}

// isWrapped reports whether a name is another one in braces, and any number of "{}".
func isWrapped(name string) bool {
	for {
		inner, ok := strings.CutPrefix(name, "{")
		if inner, closed := strings.CutSuffix(inner, "}"); ok && closed && inner != "" && !strings.Contains(inner, "}") {
			return true
		}
		if name, ok = strings.CutSuffix(name, "{}"); !ok {
			return false
		}
	}
}
