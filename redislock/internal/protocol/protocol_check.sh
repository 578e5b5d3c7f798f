#!/usr/bin/env bash
# Has spin look at every state of protocol.pml: none may break what a lock promises,
# and without any one of its rules, some has to. Needs spin and gcc.
set -euo pipefail
cd "$(dirname "$0")"

model=$PWD/protocol.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	echo "$*" >&2
	cat out >&2
	exit 1
}

# search OPTIONS: looks at every state, or until an error is found.
search() {
	spin -a "$@" "$model" >out || fail "spin -a $*"
	gcc "$fast" -w -DSAFETY -DCOLLAPSE -DMEMLIM=1500 -o pan pan.c
	local start=$EPOCHREALTIME
	./pan -m1000000 >out 2>&1 || fail "pan $*"
	local ms=$(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000))
	printf '%9d states %3d.%d s  %s\n' "$(awk '/ states, stored/ { print $1 + 0 }' out)" \
		$((ms / 1000)) $((ms % 1000 / 100)) "$*"
}

fast=-O1 # -O0 compiles in a third of the time

# holds OPTIONS: there is no error.
holds() {
	search "$@"
	grep -q 'errors: 0$' out || fail "error in the protocol: $*"
	if grep -qE 'max search depth too small|MEMLIM|out of memory|Search not completed' out; then
		fail "not all states were looked at: $*"
	fi
	# What no state has led to, by line and number; the ends of endless loops apart.
	sed -n '/-end-/d; s/^\t.*\(protocol\.pml:[0-9]*, state [0-9]*\),.*/\1/p' out | sort -u >unreached
	[ -e never ] || cp unreached never
	comm -12 unreached never >both
	mv both never
}

# breaks RULE OPTIONS: there is one without the rule, in what is promised.
breaks() {
	search -DBROKEN="$1" "${@:2}"
	grep -q 'assertion violated' out || fail "nobody misses the rule $1"
}

# Nobody stands by. Nothing fails: every wait ends by a wake-up.
holds -DN=3 -DTRY=1 -DGIVEUP=2
holds -DN=2 -DTRY=1 -DGIVEUP=1 -DPOLLS=1 -DCLOSE=1
# Something does: where nobody is woken, a look finds the lock free.
holds -DN=3 -DFAULTS=1 -DVANISH=1 -DK=1
holds -DN=3 -DFAULTS=1 -DCRASH=1 -DK=1
holds -DN=3 -DFAULTS=1 -DLOSE=1 -DGIVEUP=1 -DCLOSE=1 -DK=1
holds -DN=3 -DFAULTS=1 -DHANG=1 -DK=1
holds -DN=4 -DTOGETHER=1 -DK=1
holds -DSTANDBY=2 -DN=5 -DTOGETHER=1 -DK=1
holds -DN=2 -DFAULTS=1 -DVANISH=1 -DRENEW=1 -DK=1
holds -DN=2 -DFAULTS=2 -DCRASH=1 -DLOSE=1 -DHANG=1 -DK=2
holds -DN=2 -DFOREIGN=1 -DPOLLS=1 -DK=1
# Everybody does who may.
holds -DSTANDBY=1 -DN=3 -DTRY=1 -DGIVEUP=1
holds -DSTANDBY=1 -DN=3 -DFAULTS=1 -DVANISH=1 -DK=1
holds -DSTANDBY=1 -DN=3 -DFAULTS=1 -DCRASH=1 -DK=1
holds -DSTANDBY=1 -DN=3 -DFAULTS=1 -DLOSE=1 -DK=1
holds -DSTANDBY=1 -DN=3 -DFAULTS=1 -DHANG=1 -DK=1
# Or not always.
holds -DSTANDBY=2 -DN=2 -DTRY=1 -DGIVEUP=1 -DPOLLS=1 -DCLOSE=1
holds -DSTANDBY=2 -DN=2 -DFAULTS=1 -DVANISH=1 -DPOLLS=1 -DK=1
holds -DSTANDBY=2 -DN=2 -DFAULTS=1 -DLOSE=1 -DGIVEUP=1 -DCLOSE=1 -DK=1
holds -DSTANDBY=2 -DN=2 -DFAULTS=2 -DCRASH=1 -DLOSE=1 -DHANG=1 -DK=2
holds -DSTANDBY=2 -DN=2 -DFOREIGN=1 -DPOLLS=1 -DK=1

# Each part of the model is of use: something leads to it, and each rule is needed.
[ ! -s never ] || fail "never reached: $(cat never)"
fast=-O0
breaks ALONE -DN=2 -DFAULTS=1 -DVANISH=1 -DK=1
breaks SETTLE -DN=2 -DFAULTS=1 -DLOSE=1 -DK=1
breaks INHERIT -DN=3 -DFAULTS=1 -DLOSE=1 -DGIVEUP=3 -DK=1
breaks FORGET -DN=3 -DFAULTS=1 -DLOSE=1 -DGIVEUP=3 -DCLOSE=1 -DK=1
breaks LEASE -DN=2 -DFAULTS=1 -DHANG=1 -DK=1
breaks TIME -DN=2 -DFAULTS=1 -DVANISH=1 -DK=1
breaks COUNT -DN=3
breaks RELEASE -DN=2
breaks PASS_ON -DN=3 -DGIVEUP=1
breaks ORDER -DN=3
breaks KILL -DN=2 -DFAULTS=1 -DHANG=1 -DK=1
breaks EVICT -DN=3 -DFAULTS=1 -DHANG=1 -DK=1
breaks FRONT -DN=4 -DTOGETHER=1 -DK=1
breaks TELL -DN=2
breaks PING -DN=2 -DTRY=1
breaks GIVE -DSTANDBY=1 -DN=3 -DFAULTS=1 -DVANISH=1 -DGIVEUP=1 -DK=1
breaks STALE -DSTANDBY=2 -DN=2 -DTRY=1 -DGIVEUP=1 -DPOLLS=1
