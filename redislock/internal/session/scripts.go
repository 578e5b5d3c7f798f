package session

import (
	"sync"

	"github.com/golocker/locker/redislock/internal/conn"
)

// maxScripts is how many scripts are on their way at once: what else the session says, as
// heartbeats and answers to pings, never waits behind more. Others wait for them in line.
const maxScripts = 256

// scripts are those that go by the session's connection.
type scripts struct {
	conn *conn.Conn

	mu      sync.Mutex
	flying  int              // guarded by mu: those on their way
	line    [][]conn.Command // guarded by mu: those that wait for them, each with what is sent before it
	sending bool             // guarded by mu: someone sends the next ones, and will go on
}

// write writes a script, with what is sent before it, or has it wait, and reports whether it
// is on its way.
func (s *scripts) write(batch []conn.Command) bool {
	s.mu.Lock()
	if s.flying >= maxScripts || len(s.line) > 0 {
		s.line = append(s.line, batch)
		s.mu.Unlock()
		s.conn.Busy()
		return false
	}
	s.flying++
	s.mu.Unlock()
	s.conn.Write(batch...)
	return true
}

// answered takes in that one has been answered. When half of them have, the next ones are
// written, in one piece.
func (s *scripts) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	if s.sending { // where the connection has ended, all are answered while they are written
		return
	}
	s.sending = true
	for len(s.line) > 0 && s.flying <= maxScripts/2 {
		next := min(len(s.line), maxScripts-s.flying)
		var commands []conn.Command
		for _, batch := range s.line[:next] {
			commands = append(commands, batch...)
		}
		clear(s.line[:next])
		if s.line = s.line[next:]; len(s.line) == 0 {
			s.line = nil // it may have been long
		}
		s.flying += next
		s.mu.Unlock()
		s.conn.Send(commands...)
		s.mu.Lock()
	}
	s.sending = false
}
