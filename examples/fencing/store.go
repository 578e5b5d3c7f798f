package main

import (
	"errors"
	"fmt"
	"sync"
)

// ErrStaleToken is the error of a write by a holder that another one has followed.
var ErrStaleToken = errors.New("stale fencing token")

// A Store refuses a write with a token smaller than one it has seen. In SQL:
//
//	UPDATE account SET value = $1, token = $2 WHERE id = $3 AND token <= $2
//
// where no row is changed if the token is stale. The check and the write must be
// one step.
type Store struct {
	mu    sync.Mutex
	token uint64 // guarded by mu: the greatest one seen
	value string // guarded by mu
}

// Write sets the value for the holder of a lock.
func (s *Store) Write(token uint64, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token < s.token {
		return fmt.Errorf("%w: %d, after %d", ErrStaleToken, token, s.token)
	}
	s.token, s.value = token, value
	return nil
}

// Read returns the value.
func (s *Store) Read() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value
}
