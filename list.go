package locker

// A list has its elements in the order in which they came.
type list[T any] struct {
	first *element[T]
	last  *element[T]
	len   int
}

// An element is of one list at a time, which it can leave wherever it stands.
type element[T any] struct {
	of   T
	prev *element[T]
	next *element[T]
}

func (l *list[T]) push(e *element[T]) {
	e.prev, e.next = l.last, nil
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
	l.len++
}

// remove takes e out, and leaves the links of e as they are.
func (l *list[T]) remove(e *element[T]) {
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	l.len--
}
