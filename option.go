package locker

import (
	"context"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"
)

// NoTimeout is the timeout of an Acquire that waits until its ctx ends.
const NoTimeout time.Duration = -1

// What holds where no Option says otherwise.
const (
	defaultTimeout       = 5 * time.Second
	defaultCheckInterval = 250 * time.Millisecond
)

const maxNameLength = 1024 // bytes

// An Option changes how locks are acquired. Options given to the constructor of
// a Locker are its defaults; options given to Acquire win over them. An option
// that makes no sense, like a negative timeout, is an ErrInvalid of Acquire.
type Option func(*options)

type options struct {
	timeout        time.Duration
	checkInterval  time.Duration
	failWhenLocked bool
	log            *slog.Logger // nil: nowhere
	trace          *Trace       // nil: nobody is told
}

// WithTimeout bounds how long Acquire waits for a lock that another holds. The
// default is 5 s. With 0, Acquire makes exactly one attempt; with [NoTimeout] it
// waits until its ctx ends.
func WithTimeout(d time.Duration) Option {
	return func(o *options) { o.timeout = d }
}

// WithCheckInterval sets how often a waiting Acquire looks at the lock when
// nothing wakes it, and how often a held lock is checked where a loss is not
// told by the backend. The default is 250 ms. It must be positive.
func WithCheckInterval(d time.Duration) Option {
	return func(o *options) { o.checkInterval = d }
}

// WithFailWhenLocked makes Acquire return [ErrAlreadyLocked] at once when the
// first attempt finds that another holds the lock. The default is false: wait.
func WithFailWhenLocked(fail bool) Option {
	return func(o *options) { o.failWhenLocked = fail }
}

// WithLogger sets where waits and attempts (at debug level) and losses (at warn
// level) are logged. The default, and nil, is nowhere.
func WithLogger(l *slog.Logger) Option {
	return func(o *options) { o.log = l }
}

func defaultOptions() options {
	return options{timeout: defaultTimeout, checkInterval: defaultCheckInterval}
}

// with returns a copy of o that opts have been applied to.
func (o options) with(opts []Option) options {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}

// waits reports whether an Acquire waits for a lock that another holds.
func (o *options) waits() bool { return o.timeout != 0 && !o.failWhenLocked }

// debug reports whether attempts and waits are logged.
func (o *options) debug(ctx context.Context) bool {
	return o.log != nil && o.log.Enabled(ctx, slog.LevelDebug)
}

// check returns an error that matches ErrInvalid and names what is wrong with
// the lock's name or the options, or nil.
func (o *options) check(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	switch {
	case o.checkInterval <= 0:
		return fmt.Errorf("%w check interval %v: it must be positive", ErrInvalid, o.checkInterval)
	case o.timeout < 0 && o.timeout != NoTimeout:
		return fmt.Errorf("%w timeout %v: it must be positive, 0 or NoTimeout", ErrInvalid, o.timeout)
	}
	return nil
}

// checkName returns an error that matches ErrInvalid if no lock can be called so.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w name: it is empty", ErrInvalid)
	case len(name) > maxNameLength:
		return fmt.Errorf("%w name: %d bytes long, more than %d", ErrInvalid, len(name), maxNameLength)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w name: not UTF-8", ErrInvalid)
	}
	return nil
}
