// Package filelock is the file backend of locker: locks for the processes of
// one machine, kept by the kernel in the files of a directory.
//
//	l, err := filelock.New("/var/lib/myapp/locks")
//	...
//	lock, err := l.Acquire(ctx, "nightly-report")
//
// # What it promises
//
// One process at a time holds a name, also among programs of different users
// that may open the files. A crash frees the lock: the kernel drops it with the
// process, and nothing is left to clean up. Two Lockers exclude each other like
// two processes do, and children that a holder starts do not inherit its locks.
//
// Waiters are woken by the kernel on Linux, where a release is told by inotify:
// the next one holds about 0.1 ms after a release, and within a few milliseconds
// after the holder was killed. Elsewhere, and where inotify has no instances or
// watches left (fs.inotify.max_user_instances, max_user_watches), waiters look
// every check interval. A waiter whose ctx ends returns at once in both cases.
//
// Within one Locker a name is first come, first served. The order between
// processes is the kernel's, which knows no queue: whoever asks first after a
// release is next, and a process that has many waiters of its own may go on for
// a while before another process has its turn.
//
// # Files
//
// A lock is one file in the directory, named like the lock: "nightly-report" is
// dir/nightly-report. Bytes other than ASCII letters, digits, "-", "_" and "."
// are written as %xx, a suffix tells names apart that differ in case only, and
// of names longer than about 140 bytes the file name keeps a prefix and a hash.
// Give the locks a directory of their own. An empty file there that has the name of
// a lock becomes the lock. A file that holds another program's data does not, and
// stays as it is: Acquire, Inspect and Break return ErrUnavailable and an
// *fs.PathError, and Names leaves the file out.
//
// Lock files are made with mode 0600, for one user. For a group of users, make the
// directory with mode 2770 (setgid, and writable by the group): in it, lock files are
// made with mode 0660, whatever the umask is. The mode of a file that is there
// already stays.
//
// The file stays after the release. Removing it by hand is safe only while no
// process uses the lock. It holds one line of JSON about the latest holder, for
// people (pid, host, since when) and for the fencing token, and below that the name of
// the lock, where that of the file does not tell it. On Windows, Solaris
// and AIX, where the lock file cannot be read while it is locked, that line is
// in a file next to it with "+i" after its name.
//
// Where the lock file cannot be made, opened or written (a full or read-only disk,
// no permission, something else of that name), Acquire returns ErrUnavailable and
// an *fs.PathError that says why. One that waits already tries again every check
// interval.
//
// # Losing a lock
//
// A lock is lost when its file is deleted, renamed or replaced: from then on
// another process can lock the new file, and neither the kernel nor this package
// can prevent it. The loss is noticed by Err, by Release, and every check
// interval once Done or locker.Context was called; until then two processes may
// both believe that they hold the lock. The storage that the lock protects can
// refuse the older one by its fencing token. A path that the process may not look
// at any more, as after giving up its privileges, tells no loss.
//
// Tokens grow from hold to hold by the record in the file. When the file was
// deleted or overwritten they go on from the clock, in microseconds of Unix
// time; only a file deleted and a clock set back may together repeat a token.
//
// # Inspecting
//
// On Linux, Inspect has the holder from the kernel (/proc/locks), and shows what the
// record says only if it is of that process. It counts those who wait: one for each Locker
// that may read the directory, where it leaves a mark that the kernel shows, and those that
// flock(1) has blocked. The cost of Inspect grows with the number of locks on the
// machine, and not with that of processes or open files. In a container, where the kernel
// does not show the locks of others, and on other systems, it locks the file for readers
// for an instant, which attempts tell from a holder; it may not know who the holder is, or
// how many wait, and takes a lock for free that "flock -s" shares. It does so on Linux, too,
// where there are more locks on the machine than the kernel shows at once, about 70.
//
// Break puts a new file, with the record, owner and mode of the old one, in its place,
// and keeps that locked until the holder has noticed: 500 ms at most. One that uses
// neither Done nor Context notices later. On Windows, Solaris and AIX it is not supported.
//
// # Who can interfere
//
// Locks are advisory. Whoever may write to the directory can delete or replace
// a lock file; whoever may open a lock file can hold the lock, with flock(1)
// too, or forge the record; root can do all of it. A directory that everybody may write to is
// refused unless it is sticky, and so is a symbolic link, or anything else but a
// regular file, in place of a lock file. (On Windows, a link that is put there in
// the instant between the check and the opening of the file is opened, and
// refused afterwards.)
//
// # Network file systems
//
// Use a directory on a local disk. On NFS, Linux turns flock into a byte-range
// lock on the server, if the mount does not say local_lock; elsewhere the lock
// may be local to each machine and exclude nobody on another. No machine is told
// of a release on another, so waiters there look every check interval. How soon
// the lock of a crashed machine is free is up to the server and its lease, and a
// machine that is cut off may lose its lock without being told. Other network
// file systems differ in all of this. Do not use them for locks across machines
// unless you have verified what yours does; package redislock is made for that.
package filelock
