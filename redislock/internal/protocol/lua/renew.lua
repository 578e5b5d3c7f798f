-- Has the keys of lock n last, and restores what they say of the session that holds it
-- where that is missing.
-- ARGV: n, sid, its token, the last token that it has reserved, the server's run id,
--       CLIENT TIMEOUT PID HOST for the holder key, expiry in seconds, and how many
--       microseconds ago it has acquired the lock
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid, token, reserved, run, about, ttl, age = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]

local values = read()
if subscribers(hold_channel(n, sid)) > 0 then
  if tonumber(values[1] or 0) < tonumber(reserved) then call('SET', fence, reserved, 'EX', ttl) end
  if counter and tonumber(values[5] or 0) < tonumber(reserved) then call('SET', counter, reserved, 'KEEPTTL') end
  -- It may come late, when the lock is another's, and the session claims it again.
  local last, _, till, its = parse_holder(values[2])
  if last == sid and its == '0' or last ~= sid and (not last or subscribers(hold_channel(n, last)) == 0) then
    call('SET', holder, format_holder(sid, token, run, till or 0, microseconds() - age, about), 'EX', ttl)
  end
end
for _, key in ipairs({fence, holder, queue, standby}) do call('EXPIRE', key, ttl) end
return 'ok'
