-- Tells those who wait for lock n that the session has left it.
-- KEYS: n-holder, n-queue
-- ARGV: n, sid
-- Returns 'ok', or 'notyet' while the session is still there.
-- A step of ../protocol.pml: a change here asks for one there.
local holder, queue = KEYS[1], KEYS[2]
local n, sid = ARGV[1], ARGV[2]

if subscribers(hold_channel(n, sid)) > 0 then return 'notyet' end
pass_on(n, queue, holder, sid)
return 'ok'
