package locker

import (
	"fmt"
	"unicode/utf8"
)

const maxNameLength = 1024 // bytes

// check returns an error that matches ErrInvalid and names what is wrong with
// the lock's name or the options, or nil.
func (o *options) check(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	switch {
	case o.checkInterval <= 0:
		return fmt.Errorf("%w check interval %v: it must be positive", ErrInvalid, o.checkInterval)
	case o.timeout < 0 && o.timeout != NoTimeout:
		return fmt.Errorf("%w timeout %v: it must be positive, 0 or NoTimeout", ErrInvalid, o.timeout)
	}
	return nil
}

// checkName returns an error that matches ErrInvalid if no lock can be called so.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w name: it is empty", ErrInvalid)
	case len(name) > maxNameLength:
		return fmt.Errorf("%w name: %d bytes long, more than %d", ErrInvalid, len(name), maxNameLength)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w name: not UTF-8", ErrInvalid)
	}
	return nil
}
