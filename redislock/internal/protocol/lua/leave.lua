-- Takes the session out of the queue of lock n. A wake-up that it was given is
-- passed on.
-- ARGV: n, sid
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid = ARGV[1], ARGV[2]

local values = read()
if call('LREM', queue, 0, sid) > 0 then move_up(n) end
pass_on(n, sid, values)
return 'ok'
