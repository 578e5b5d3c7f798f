-- Passes lock n on to those who wait, when the session has left it; or leaves it to
-- portalocker's processes first.
-- ARGV: n, sid, the generation of portalocker ('first', or 'later' for all others) that has
--       asked the session for the lock, or 'none'
-- Returns 'ok', or 'notyet' while the session is still there.
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid, generation = ARGV[1], ARGV[2], ARGV[3]

if subscribers(hold_channel(n, sid)) > 0 then return 'notyet' end
local values = read()
leave_to_portalocker(n, sid, values, generation)
pass_on(n, sid, values)
return 'ok'
