-- Passes lock n on to those who wait, when the session has left it; or leaves it to
-- portalocker's processes first.
-- ARGV: n, sid, for how many microseconds to leave it to them, and how long after
--       the last time they have begun again; or '0' '0'
-- Returns 'ok', or 'notyet' while the session is still there.
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid, time, every = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if subscribers(hold_channel(n, sid)) > 0 then return 'notyet' end
if time > 0 then
  local now = microseconds()
  local last = parse_yield(read()[3], now)
  if not last or now >= last - time + every then
    call('SET', yield, string.format('%.0f', now + time), 'PX', every / 1000)
  end
end
pass_on(n, sid)
return 'ok'
