//go:build !unix

package redislock_test

import (
	"testing"

	"github.com/golocker/locker/internal/redistest"
)

func (p *process) freeze() { p.t.Skip("a process cannot be frozen here") }
func (p *process) thaw()   {}

func freezeServer(t *testing.T, _ *redistest.Server) (thaw func()) {
	t.Skip("a process cannot be frozen here")
	return nil
}
