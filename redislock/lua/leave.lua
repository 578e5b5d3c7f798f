-- Takes the session out of the queue of lock n. A wake-up that it was given is
-- passed on.
-- KEYS: n-holder, n-queue, n-yield
-- ARGV: n, sid
-- A step of ../protocol.pml: a change here asks for one there.
local holder, queue, yield = KEYS[1], KEYS[2], KEYS[3]
local n, sid = ARGV[1], ARGV[2]

if on_queue('LREM', queue, 0, sid) > 0 then move_up(n, queue, 0) end
pass_on(n, queue, holder, yield, sid)
return 'ok'
