//go:build !unix

package filelock

// openFlags are none: there is no way to have a link refused.
const openFlags = 0
