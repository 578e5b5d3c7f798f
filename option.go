package locker

import (
	"context"
	"log/slog"
	"time"
)

// NoTimeout is the timeout of an Acquire that waits until its ctx ends.
const NoTimeout time.Duration = -1

// What holds where no Option says otherwise.
const (
	defaultTimeout       = 5 * time.Second
	defaultCheckInterval = 250 * time.Millisecond
)

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

// WithTrace has t told what becomes of Acquires, and of the locks they return. The
// default, and nil, is nobody, which costs nothing.
func WithTrace(t *Trace) Option {
	return func(o *options) { o.trace = t }
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
