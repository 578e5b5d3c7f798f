-- Takes the session out of the queue of lock n. A wake-up that it was given is
-- passed on.
-- KEYS: n-fence, n-holder, n-queue, n-yield, n-standby
-- ARGV: n, sid
-- A step of ../protocol.pml: a change here asks for one there.
local fence, holder, queue, yield, standby = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local n, sid = ARGV[1], ARGV[2]

if on_queue('LREM', queue, 0, sid) > 0 then move_up(n, queue) end
pass_on(n, fence, holder, queue, yield, standby, sid)
return 'ok'
