package locker

import "sync"

// A serial runs functions one after another, in a goroutine that ends when there are no
// more. A session may lose thousands of locks at once: a goroutine for each would keep
// the telling of the others from the processor.
type serial struct {
	mu   sync.Mutex
	todo []func() // guarded by mu; not empty while the goroutine runs
}

// run has f run when those before it have returned.
func (s *serial) run(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.todo = append(s.todo, f)
	if len(s.todo) == 1 {
		go s.runAll()
	}
}

func (s *serial) runAll() {
	for i := 0; ; i++ {
		s.mu.Lock()
		if i == len(s.todo) {
			s.todo = nil
			s.mu.Unlock()
			return
		}
		f := s.todo[i]
		s.mu.Unlock()
		f()
	}
}
