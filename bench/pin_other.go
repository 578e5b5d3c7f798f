//go:build !linux

package main

import "errors"

// processors returns those that this process may run on, if it can choose among them.
func processors() []int { return nil }

func pin(int, int) (unpin func() error, err error) { return nil, errors.ErrUnsupported }
