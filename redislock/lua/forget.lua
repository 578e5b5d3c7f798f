-- Deletes the hint that the session holds a lock, which it does no more, so that
-- the next holder need not wait for a session that is gone to hear of it; unless
-- it has to for one before.
-- KEYS: n-holder
-- ARGV: sid
-- A step of ../protocol.pml: a change here asks for one there.
local sid, _, till = parse_holder(call('MGET', KEYS[1])[1])
if sid == ARGV[1] and till <= microseconds() then call('DEL', KEYS[1]) end
return 'ok'
