//go:build !linux

package filelock

import (
	"log/slog"

	"github.com/golocker/locker"
)

// A notifier wakes nobody here: waiters look every check interval.
type notifier struct {
	log *slog.Logger
}

// A watch is not to be had.
type watch struct{}

func newNotifier() notifier { return notifier{} }

func (*notifier) add(string, *locker.Attempt) *watch { return nil }
func (*notifier) remove(*watch)                      {}
func (*notifier) alive(*watch) bool                  { return false }
func (*notifier) woken(*watch) bool                  { return false }
func (*notifier) close()                             {}
