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
// The lock is held, and locker runs, until the command and what it has started have
// ended. Only a daemon, which has left the session of the command, as setsid(1) does, is
// left alone when the command ends by itself.
//
// SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on to the command and to everything that
// it has started, daemons included; SIGUSR1 and SIGUSR2 to the command alone. A second
// signal is passed on like the first. The lock is given back when everything has ended:
//
//   - After SIGTERM, whatever still runs after --grace is killed.
//   - After the other signals, the command may go on: SIGHUP can mean "reload". If the
//     command ends within --grace, what it leaves behind gets SIGTERM, and --grace to end.
//   - When the lock is lost, it is as after SIGTERM, unless --on-loss says otherwise.
//
// Without a terminal the command has a process group of its own, so that a signal to the
// group of locker, as from timeout(1), comes once. At a terminal the command stays in the
// group of locker, and ^C, ^\ and ^Z reach it from there: a SIGINT or SIGQUIT that is sent
// to locker alone is not passed on then. Whoever sends signals to all processes, like
// systemd with its default KillMode, reaches the command twice. SIGSTOP and SIGTSTP are
// not passed on. A locker that is stopped cannot keep a lock on Redis, or notice a loss
// until it continues.
//
// All this holds on Linux. On other Unix systems, locker signals and waits for the process
// group of the command, and at a terminal for the command alone; on Windows, too, for the
// command alone.
//
// The command finds the name of its lock in LOCKER_NAME, the fencing token in
// LOCKER_TOKEN, and in LOCKER_RUN what its run is known by. On Linux, nothing that it
// has started goes on without the lock when locker itself is killed, even by SIGKILL,
// but for processes that have wiped LOCKER_RUN from their environment, or run as
// another user, and but for the first 20 ms. Processes of other users, as under sudo(8),
// cannot be signalled: the lock is held until they end. As the first process of a
// container, locker reaps what nobody else does.
package main
