module github.com/golocker/locker/bench

go 1.26.0

require (
	github.com/golocker/locker v0.0.0
	github.com/moby/locker v1.0.1
)

replace github.com/golocker/locker => ../
