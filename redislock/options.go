package redislock

import (
	"fmt"
	"time"

	"github.com/golocker/locker"
)

// Options are the settings of a Locker. The zero value of a field stands for its
// default.
type Options struct {
	// UnavailableTimeout is how long a holder may leave the question of a waiter
	// whether it is there unanswered before it is disconnected, and a waiter its
	// turn before it is put out of the queue. A holder that has not heard from the
	// server for three quarters of that takes its locks for lost. It does not bound
	// Acquire and Release: that is for the timeouts of the client. Others go by that of
	// the holder, which they learn with its name. The default is 1 s.
	UnavailableTimeout time.Duration

	// SettleTime is how long an Acquire waits that takes the lock after a holder
	// whose connection was cut: time for that holder to hear of it. The default
	// is 10 ms. After a holder whose server was restarted or replaced, the wait
	// is three quarters of UnavailableTimeout.
	//
	// A process that has just released a lock which it held for less than 5 ms may read
	// nothing for so long: a SettleTime that is not well above that does not cover it.
	SettleTime time.Duration

	// HealthCheckInterval is how often an idle session is checked with a PING.
	// The default is 10 s.
	HealthCheckInterval time.Duration

	// PortalockerNames gives each lock a connection of its own, with the name that
	// portalocker gives to its connections, so that processes that lock with
	// portalocker 4 (Python) can disconnect one of this library that hangs; without
	// it, only those of this library do. Each lock that is held or waited for then
	// costs a connection, and a first Acquire the time to open it. It is closed when
	// the lock was not used for UnavailableTimeout. Tokens are counted in portalocker's key
	// n-fence, too, so that those of portalocker 4.2 and these grow together. Not in a
	// Cluster.
	PortalockerNames bool
}

// What holds where Options say nothing.
const (
	defaultUnavailableTimeout  = time.Second
	defaultSettleTime          = 10 * time.Millisecond
	defaultHealthCheckInterval = 10 * time.Second
)

// complete puts defaults in the place of zeros.
func (o *Options) complete() error {
	for _, f := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"UnavailableTimeout", &o.UnavailableTimeout, defaultUnavailableTimeout},
		{"SettleTime", &o.SettleTime, defaultSettleTime},
		{"HealthCheckInterval", &o.HealthCheckInterval, defaultHealthCheckInterval},
	} {
		if *f.value < 0 {
			return fmt.Errorf("redislock: %w Options.%s %v: it must not be negative", locker.ErrInvalid, f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.preset
		}
	}
	return nil
}
