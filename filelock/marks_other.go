//go:build !linux

package filelock

// marks show nobody here who waits.
type marks struct{ dir string }

// A mark is not to be had.
type mark struct{}

func (*marks) move(mark, *file) mark { return mark{} }
func (*marks) remove(mark)           {}
