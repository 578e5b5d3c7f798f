// Package redisacl lists what an ACL of Redis has to permit to a user of locks. The
// README, the tests and locker check all follow this list.
package redisacl

import "strings"

// A Permission is a command that locks use.
type Permission struct {
	Name    string // as in an ACL rule, without the plus sign
	Without string // what goes missing without it; empty if locks do not work without it
	probes  string // separated by semicolons
}

// Permissions returns the permissions that locks use on one server, in an order in which
// their probes can be tried.
func Permissions() []Permission {
	const hung = "a holder that hangs keeps its lock"
	return []Permission{
		{"info", "after a restart of Redis, or a failover, a lock is free as soon as after the crash of its holder", "INFO server"},
		{"ping", "an idle connection is not checked", "PING"},
		{"client|id", "", "CLIENT ID"},
		{"client|setname", "", "CLIENT SETNAME locker:check"},
		{"client|list", hung, "CLIENT LIST ID 9223372036854775807"}, // no connection has that id
		{"client|kill", hung, "CLIENT KILL ID 9223372036854775807"},
		{"subscribe", "", ""},
		{"unsubscribe", "", ""},
		{"publish", "", "PUBLISH <lock>:h:probe probe"},
		{"pubsub|numsub", "", "PUBSUB NUMSUB <lock>"},
		{"pubsub|channels", "", "PUBSUB CHANNELS <lock>"},
		{"eval", "", "EVAL return(1) 1 <key>"},
		{"evalsha", "", "EVALSHA 0000000000000000000000000000000000000000 1 <key>"}, // NOSCRIPT
		{"time", "", "TIME"},
		{"scan", "locker status has to be told which locks to show", "SCAN 0 COUNT 1"},
		{"mget", "", "MGET <key>"},
		{"exists", "", "EXISTS <key>"},
		{"rpush", "", "RPUSH <key> probe"},
		{"lrange", "", "LRANGE <key> 0 0"},
		{"lindex", "", "LINDEX <key> 0"},
		{"lpos", "", "LPOS <key> none"},
		{"ttl", "", "TTL <key>"},
		{"lrem", "", "LREM <key> 1 none"},
		{"lpop", "", "LPOP <key>"},
		{"set", "", "SET <key> probe EX 1; SET locker:session:probe probe EX 1"},
		{"expire", "", "EXPIRE <key> 1"},
		{"del", "", "DEL <key>"},
	}
}

// Probes returns commands that need the permission, for a lock that the user may acquire.
// They change only keys that no lock uses, which expire after a second, or which the probe
// of del deletes. A script needs the same permissions as its commands need outside of it.
// There is none for subscribe and unsubscribe, which need a connection of their own.
func (p Permission) Probes(lock string) (commands [][]any) {
	names := strings.NewReplacer("<lock>", lock, "<key>", lock+":locker:probe")
	for probe := range strings.SplitSeq(p.probes, ";") {
		var args []any
		for word := range strings.FieldsSeq(probe) {
			args = append(args, names.Replace(word))
		}
		if len(args) > 0 {
			commands = append(commands, args)
		}
	}
	return commands
}

// Rules returns the ACL rules of a user whose locks have names that begin with prefix,
// with no right that a lock does not use.
func Rules(prefix string) []string {
	rules := []string{"resetchannels", "~" + prefix + "*", "~locker:session:*", "&" + prefix + "*", "&locker:session:*"}
	for _, p := range Permissions() {
		if p.Name != "scan" { // it is for Names, which is no part of a lock
			rules = append(rules, "+"+p.Name)
		}
	}
	return rules
}
