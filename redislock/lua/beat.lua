-- A heartbeat, in a Cluster: as it names a key, only the primary of the shard that
-- has the session's slot runs it.
-- KEYS: the session's channel
-- ARGV: the number of the heartbeat
-- Returns how many it has reached.
return tostring(publish(KEYS[1], ARGV[1]))
