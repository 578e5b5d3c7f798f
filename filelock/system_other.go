//go:build !linux

package filelock

// namesHolders is whether the system tells which process has a lock.
const namesHolders = false

// locks are not to be had from the system.
type locks struct{}

func systemLocks() (locks, error) { return locks{}, nil }

// of returns the state of the lock of f, which it tries to lock for readers: that keeps
// an attempt from a free lock for an instant.
func (locks) of(f *file) (lockState, error) {
	held, err := f.isLocked()
	return lockState{held: held}, err
}

// mayTell reports that another look would tell no more.
func (locks) mayTell(lockState) bool { return false }

// innerPID returns 0, as no process is known by two numbers.
func innerPID(int) int { return 0 }

// waitersFor does not know.
func (locks) waitersFor(*file, string) int { return -1 }
