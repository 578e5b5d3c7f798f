//go:build !unix

package redislock_test

func (p *process) freeze() { p.t.Skip("a process cannot be frozen here") }
func (p *process) thaw()   {}
