//go:build !unix && !windows

package main

import "os"

// terminal reports whether f is a terminal, and how many columns it has: here nobody
// can tell.
func terminal(*os.File) (columns int, ok bool) { return 0, false }
