//go:build !linux

package main

import "time"

// Where the system does not say which processes belong to a run, there is no guard.

func isGuard([]string) bool { return false }

func guard([]string) {}

type guarding struct{}

func startGuard(string) (*guarding, error) { return &guarding{}, nil }

func (*guarding) end() {}

// bury has nothing to look for.
func (*child) bury(string, time.Time) {}
