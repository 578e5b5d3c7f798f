// Locker runs commands while they hold a lock by name, and shows and breaks the locks
// that are held.
//
//	locker run [--timeout D | --no-wait | --wait] [--on-loss ACTION] NAME -- COMMAND [ARGS...]
//	locker status [--json] [--watch] [NAME...]
//	locker break [--yes] NAME
//	locker check [--prefix PREFIX]
//	locker version
//	locker completion bash|zsh|fish|pwsh
//
// All take --url URL, else what the environment variable LOCKER_URL says: where the
// locks are, as package lockurl reads it; several, with spaces between, are for the
// first that answers. Without it they are files in the user's state directory. With
// --quiet nothing is told but errors, losses and warnings.
//
// The exit status of run is that of the command, 128+n if signal n has ended it, or one
// of these:
//
//	1    another holds the lock: --no-wait, or --timeout is over (--conflict-exit-code)
//	2    the command line or a URL makes no sense
//	69   the locks cannot be reached, or the backend has refused, or cannot do that
//	70   an internal error
//	75   the lock was lost while the command ran (--lost-exit-code): temporary failure,
//	     as sysexits.h calls it, since the same command may well succeed later
//	126  the command could not be executed
//	127  the command was not found
//
// Signals are passed on to the command. Without a terminal it has a process group of its
// own, so that one that is sent to the group of locker, as by timeout(1), comes once. At a
// terminal it stays in that of locker, and ^C and ^\ reach it from there: a SIGINT that is
// sent to locker alone is not passed on then. Who sends signals to all processes, as
// systemd with its default KillMode, reaches the command twice.
//
// The command finds the name of its lock in LOCKER_NAME, the fencing token in
// LOCKER_TOKEN, and in LOCKER_RUN what its run is known by. On Linux, nothing that it
// has started goes on without the lock when locker itself is killed, even by SIGKILL,
// but for processes that have wiped LOCKER_RUN from their environment, or run as
// another user, and for what was left behind within its first 20 ms. What a command
// leaves running that has ended by itself is left alone, and not waited for: as the first
// process of a container, locker wants an init (docker run --init).
package main
