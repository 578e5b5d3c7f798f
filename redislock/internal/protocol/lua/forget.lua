-- Deletes the hint that the session holds a lock, which it does no more, so that
-- the next holder need not wait for a session that is gone to hear of it; unless
-- it has to for one before.
-- ARGV: n, sid
-- A step of ../protocol.pml: a change here asks for one there.
local sid, _, till = parse_holder(call('MGET', holder)[1])
if sid == ARGV[2] and till <= microseconds() then call('DEL', holder) end
return 'ok'
