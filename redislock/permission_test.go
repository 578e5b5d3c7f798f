package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/internal/redistest"
	"github.com/golocker/locker/redislock"
)

// Whoever lacks one of the permissions that a lock needs learns which one: from the error, or
// from the log where it can be done without.
func TestOnePermissionLess(t *testing.T) {
	t.Parallel()
	scenarios := map[string]func(d *denied) string{
		"info":            (*denied).acquireWithout,
		"client|id":       (*denied).acquire,
		"client|setname":  (*denied).acquire,
		"ping":            (*denied).idle,
		"subscribe":       (*denied).acquire,
		"unsubscribe":     (*denied).release,
		"publish":         (*denied).acquire,
		"pubsub|numsub":   (*denied).acquire,
		"pubsub|channels": (*denied).waitForgotten,
		"client|list":     (*denied).waitForHung,
		"client|kill":     (*denied).waitForHung,
		"eval":            (*denied).acquire,
		"evalsha":         (*denied).acquire,
		"time":            (*denied).acquire,
		"mget":            (*denied).acquire,
		"set":             (*denied).acquire,
		"del":             (*denied).acquireAfterStandby,
		"expire":          (*denied).acquireHeld,
		"exists":          (*denied).acquire,
		"lpos":            (*denied).acquireHeld,
		"lrange":          (*denied).waitForgotten,
		"ttl":             (*denied).waitForHung,
		"lindex":          (*denied).acquireHeld,
		"lpop":            (*denied).acquireAfterDead,
		"lrem":            (*denied).giveUp,
		"rpush":           (*denied).acquireHeld,
	}
	protocols(t, func(t *testing.T, protocol int) {
		s := redistest.Start(t)
		listed := make(map[string]bool)
		for _, rule := range myappRules() {
			permission, ok := strings.CutPrefix(rule, "+")
			if !ok {
				continue
			}
			listed[permission] = true
			t.Run(permission, func(t *testing.T) {
				scenario := scenarios[permission]
				if scenario == nil {
					t.Fatal("package redisacl lists it, and no scenario here needs it")
				}
				setUser(s, permission, without(myappRules(), rule))
				d := &denied{T: t, server: s, protocol: protocol, permission: permission, name: "myapp:" + permission}
				if text := scenario(d); !d.isNamed(text) {
					t.Errorf("it is not named: %s", text)
				}
			})
		}
		for permission := range scenarios {
			if !listed[permission] {
				t.Errorf("package redisacl does not list %s", permission)
			}
		}
	})
}

// A denied is a lock, and a user who lacks one permission. Each scenario returns what
// the user is told.
type denied struct {
	*testing.T
	server     *redistest.Server
	protocol   int
	permission string // and the user's name
	name       string
	logs       syncBuffer
}

func (d *denied) open(o *redislock.Options) *redislock.Locker {
	d.Helper()
	return openWith(d.T, d.server.Client(userOptions(d.permission, d.protocol)), o, locker.WithCheckInterval(20*time.Millisecond),
		locker.WithLogger(slog.New(slog.NewTextHandler(&d.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
}

// isNamed reports whether the text names the command, as the server does, or as the
// scripts do: with a space for the bar.
func (d *denied) isNamed(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, "|", " "), "'"+strings.ReplaceAll(d.permission, "|", " ")+"'")
}

// logged waits until the log names the command.
func (d *denied) logged() string {
	d.Helper()
	poll(d.T, "the name in the log", func() bool { return d.isNamed(d.logs.String()) })
	return d.logs.String()
}

func (d *denied) acquire() string {
	_, err := d.open(nil).Acquire(d.Context(), d.name, locker.WithTimeout(2*bound))
	if !errors.Is(err, locker.ErrUnavailable) {
		d.Errorf("Acquire: %v, want ErrUnavailable", err)
	}
	return fmt.Sprint(err)
}

// acquireWithout acquires the lock all the same.
func (d *denied) acquireWithout() string {
	release(d.T, acquire(d.T, d.open(nil), d.name))
	return d.logged()
}

func (d *denied) release() string {
	err := acquire(d.T, d.open(nil), d.name).Release(d.Context())
	if !errors.Is(err, locker.ErrUnavailable) {
		d.Errorf("Release: %v, want ErrUnavailable", err)
	}
	return fmt.Sprint(err)
}

// hold has another user hold the lock.
func (d *denied) hold() (end func()) {
	d.Helper()
	lock := acquire(d.T, open(d, d.server.Addr, 3), d.name)
	return func() { release(d.T, lock) }
}

func (d *denied) acquireHeld() string {
	defer d.hold()()
	return d.acquire()
}

// acquireAfterDead finds a session in the queue that is gone.
func (d *denied) acquireAfterDead() string {
	d.server.Do("RPUSH", d.name+":locker:queue", strings.Repeat("d", 32))
	return d.acquire()
}

// acquireAfterStandby finds what one has left that was given the lock.
func (d *denied) acquireAfterStandby() string {
	d.server.Do("SET", d.name+":locker:standby", strings.Repeat("d", 32)+" 0 3600 10000 750000 run 1 1 1 host")
	return d.acquire()
}

func (d *denied) idle() string {
	release(d.T, acquire(d.T, d.open(&redislock.Options{HealthCheckInterval: 20 * time.Millisecond}), d.name))
	return d.logged()
}

// wait waits for the lock, and calls then when it does.
func (d *denied) wait(o *redislock.Options, then func(giveUp func())) string {
	d.Helper()
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	l, ended := d.open(o), make(chan error)
	go func() {
		_, err := l.Acquire(ctx, d.name, locker.WithTimeout(locker.NoTimeout))
		ended <- err
	}()
	queued(d.T, d.server, d.name, 1)
	then(cancel)
	text := d.logged()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		d.Errorf("Acquire: %v, want context.Canceled", err)
	}
	return text
}

func (d *denied) giveUp() string {
	defer d.hold()()
	return d.wait(nil, func(giveUp func()) { giveUp() })
}

// waitForgotten waits while the queue is lost.
func (d *denied) waitForgotten() string {
	defer d.hold()()
	return d.wait(nil, func(func()) { d.server.Do("DEL", d.name+":locker:queue") })
}

// waitForHung waits for a portalocker that does not answer.
func (d *denied) waitForHung() string {
	conn := d.server.Raw()
	conn.Do("CLIENT", "SETNAME", d.name+"-lock")
	conn.Do("SUBSCRIBE", d.name)
	return d.wait(&redislock.Options{UnavailableTimeout: 200 * time.Millisecond}, func(func()) {})
}
