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
//
// Who waits when the server goes away tries to connect again after the check interval, and
// then more and more seldom, up to a second, with jitter; all Acquires of a Locker do so
// together. Of the scripts of a session, 256 are on their way at once, so that a burst of
// Acquires does not keep its heartbeats waiting (with RESP2 16, by as many connections).
package redislock
