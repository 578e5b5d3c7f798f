// Package redislock is the Redis backend of locker: locks for processes on many
// machines that share one Redis.
//
// The subscription to the pub/sub channel named like the lock is the lock. Redis
// drops the subscriptions of a connection the moment the connection ends, so the
// lock of a process that crashed or was killed is free at once: there is no TTL
// to choose and no renewal to miss. The protocol is that of portalocker's
// RedisLock, and processes of both exclude each other.
//
// All locks of a Locker share one connection, its session. When it ends, all of
// them are lost, and told so at once; the next Acquire opens a new one. With RESP3,
// the default of go-redis, all that a lock needs goes by that connection, except with
// Sentinel; with RESP2 a small client besides it runs the scripts. Tested with Redis
// 6.2, 7.0, 7.4 and 8, and Valkey 8; a Cluster needs 7.0.
//
// Lock n has the channels n, n:h:* and n:w:*, and the keys n:locker:fence (the last
// token), n:locker:holder, n:locker:queue, n:locker:yield and n:locker:standby. The keys
// are hints, which expire when a name was not used for an hour, and which the holder
// restores: one that is deleted or evicted costs order or time, not exclusion, but in one
// case, see below. A key of such a name that holds something else is an application's: it
// stays as it is, and an attempt fails with locker.ErrUnavailable and the name of the key.
// Each session has a channel and a key locker:session:*. Who may publish on the channels of
// a lock is trusted, as are those who may hold it: what is said there is believed.
//
// Channels are global in a Redis, and keys belong to a database: the number of the database
// does not separate locks. Two of one name in two databases exclude each other, with no
// order between them, and Break in one takes the lock from a holder of the other. Names
// with a prefix separate them.
//
// # What is promised
//
// At most one holder; processes are served first come, first served; of two
// holds the later has the greater token, also after FLUSHALL. Redis frees the
// lock in the instant it drops a connection, and the holder hears of it a moment
// later: [Options].SettleTime covers that moment. A network that tells the
// server of a closed connection but not the client is covered only so long;
// after that, where the holder key alone was deleted while the lock was held (an eviction)
// and the holder's connection is cut before anybody has asked for the lock, or all data was
// flushed less than an eighth of UnavailableTimeout before (with Sentinel a quarter; and a
// holder of thousands restores one after another); where the hint of a holder is lost that
// froze and has a longer UnavailableTimeout than a waiter; and where the
// clock of a suspended machine stood still, by tokens alone.
//
// # portalocker
//
// Processes that lock with portalocker's RedisLock (Python) on the same Redis, and this
// library's, exclude each other. Those do not queue: when a lock is released that one
// of them has asked for, this library leaves it to them: for 300 ms, no more often than
// twice a second, or, if portalocker 4 has asked, for 2 s, no more often than every 4 s.
// One of them that hangs is disconnected; for the other way round see
// [Options].PortalockerNames, with which each lock has a connection of its own. It has the
// tokens of portalocker 4.2 and those of this library grow together, too, by the key
// n-fence that portalocker counts in, and that never expires.
//
// # An address that moves
//
// A plain client may have an address that always leads to the primary: that of a managed
// Redis, a virtual IP, a proxy for TCP, a Service of Kubernetes. After a failover the former
// primary is a replica, which may keep its connections, but refuses the next heartbeat of
// each session. Its locks are lost then, before the next one holds them, who waits for
// three quarters of UnavailableTimeout, and who waits or acquires next is connected anew.
//
// # Sentinel
//
// With a client of redis.NewFailoverClient, the locks are at the server that
// Sentinel says is the primary. Over a failover all locks are lost: the heartbeats
// of a holder (see below) go to the new primary, where they do not reach its
// session, and those who wait go on there, the first one after three quarters of
// UnavailableTimeout. To be sure of that, each heartbeat makes a connection of its
// own: four a second while locks are held, one while some are only waited for. Two may hold a lock where the new primary never heard of a
// holder, as Redis replicates later than it answers, and where somebody is cut off
// together with the former primary and a Sentinel that does not know better.
//
// # Cluster
//
// With a *redis.ClusterClient, a lock is in the shard that its name's slot belongs
// to, and its channels are those of the shard; a name "n" without a hash tag of its
// own has the channel "{n}". There is one session a shard, so that what befalls one
// shard leaves the locks of the others alone. Over a failover of a shard its locks
// are lost as with Sentinel, and so is a lock whose slot moves to another shard. A
// session has a channel in a slot of its shard, too: when that one moves, all locks
// of the session are lost. portalocker does not take part: it knows no shard
// channels.
//
// # Holders that hang
//
// A waiter asks the holder every check interval whether it is there; those behind the
// first two in the queue less often, but at least every two seconds. One that does
// not answer for [Options].UnavailableTimeout, as it is frozen or cut off, is
// disconnected, which frees its lock. Before that, it knows: a session that holds
// locks proves to itself, by heartbeats that have to come back, that it is in touch
// with the server, and its locks are lost when it could not for three quarters of
// the time. Err compares clocks, so that the first call in a process that was frozen
// tells the truth.
//
// A holder keeps its locks through a pause of half of UnavailableTimeout, of its
// process, its machine or its network; one of more than three quarters of it loses
// them. Where pauses are longer, make UnavailableTimeout longer: others go by that of the
// holder. It needs the permission for CLIENT LIST and CLIENT KILL; where it is denied, the
// log says so once, and a holder that hangs keeps its lock. Whether it is granted
// meanwhile is tried once a minute.
//
// # Inspecting
//
// Inspect costs one round trip, however many wait; one per process and Locker counts as
// waiting. The holder key says who has the lock, and is believed only while that session is on
// the hold channel. A holder of portalocker is there, and not known.
// A process that passes a lock on from one of its Acquires to the next, without leaving
// it, is shown with the token and the time of the first of them.
// Names goes through the keys by SCAN; locks whose holder is not the session in the holder key,
// as it was deleted, or is a portalocker's, are not among them.
//
// Break asks the holder to give the lock up: it tells its user first, and keeps its other
// locks. One that has not done so within UnavailableTimeout is disconnected, and loses
// all of them; so is a holder of portalocker, by the name of its connection. That needs
// the permission for CLIENT LIST and CLIENT KILL.
//
// # How long it takes
//
// An attempt, also one that does not wait for a holder, and a release take as
// long as the server does, within the DialTimeout and the ReadTimeout of the
// client (go-redis' defaults are 5 s each). A timeout other than 0, and ctx, end
// an attempt earlier. Close breaks off a connection that is being made, but not the
// TLS handshake of go-redis' own dialer: that may take it the DialTimeout.
package redislock

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// Locker acquires locks in Redis.
type Locker struct {
	*locker.Base
}

var _ locker.Locker = (*Locker)(nil)

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

// New returns a Locker that keeps its locks in the Redis of client. It does not
// connect. It uses the client's options, for connections of its own, but for its hooks and
// its Limiter, and never closes the client. Where it has a StreamingCredentialsProvider, its
// connections authenticate again with new credentials; with RESP2 that is not possible, and
// a server that cuts a connection at the end of a token takes its locks. o may be nil; opts are the defaults of Acquire.
//
// A client that is nil, or of a type other than *redis.Client and
// *redis.ClusterClient, is refused with an error that matches locker.ErrInvalid, as
// are negative durations. (The nodes of a *redis.Ring know nothing of each other's
// locks.) So is a client of redis.NewFailoverClusterClient: use redis.NewFailoverClient. A
// client of redis.NewFailoverClient, and a *redis.ClusterClient, have to
// stay open as long as the Locker is used. Close may take as long as the client's
// DialTimeout if a connection is just being made.
func New(client redis.UniversalClient, o *Options, opts ...locker.Option) (*Locker, error) {
	var settings Options
	if o != nil {
		settings = *o
	}
	if err := settings.complete(); err != nil {
		return nil, err
	}
	d, err := driverFor(client, settings)
	if err != nil {
		return nil, err
	}
	l := &Locker{locker.NewBase(d, opts...)}
	d.log = l.Logger()
	return l, nil
}

func driverFor(client redis.UniversalClient, o Options) (*driver, error) {
	switch c := client.(type) {
	case *redis.Client:
		if c != nil {
			return newSingle(c.Options(), o), nil
		}
	case *redis.ClusterClient:
		if c != nil && o.PortalockerNames {
			return nil, fmt.Errorf("redislock: %w Options.PortalockerNames: portalocker does not lock in a Cluster", locker.ErrInvalid)
		}
		if c != nil && isFailover(c) {
			return nil, fmt.Errorf("redislock: %w client: one of redis.NewFailoverClusterClient is not supported, as its servers are no Cluster; redis.NewFailoverClient returns one that is", locker.ErrInvalid)
		}
		if c != nil {
			return newCluster(c, o), nil
		}
	case nil:
	default:
		return nil, fmt.Errorf("redislock: %w client: a %T is not supported, only a *redis.Client or a *redis.ClusterClient is", locker.ErrInvalid, client)
	}
	return nil, fmt.Errorf("redislock: %w client: it is nil", locker.ErrInvalid)
}

// isFailover reports whether a client is one of NewFailoverClusterClient, which asks
// Sentinel for the slots. Nothing but the name of the function shows it.
func isFailover(c *redis.ClusterClient) bool {
	slots := reflect.ValueOf(c.Options().ClusterSlots)
	return !slots.IsNil() && strings.Contains(runtime.FuncForPC(slots.Pointer()).Name(), "NewFailoverClusterClient")
}

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

// lease is how long a holder may go on after its server was lost to it.
func (o *Options) lease() time.Duration { return o.UnavailableTimeout * 3 / 4 }

// whoami returns PID and HOST for the holder key.
func whoami() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, host)
	return strconv.Itoa(os.Getpid()) + " " + host
}
