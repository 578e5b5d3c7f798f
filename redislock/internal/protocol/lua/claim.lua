-- Claims lock n for a session that has subscribed to n and to its hold channel.
-- ARGV: n, sid, 'once', or 'queue' if the session will wait, 'standby' if it can stand by
--       meanwhile, 'again' if it has stood by until now; how many tokens to reserve besides
--       the one, the server's run id, CLIENT TIMEOUT PID HOST for the holder key, expiry in seconds, how many
--       microseconds to settle after a session that is gone, and after one whose server is
--       gone too and that has not said for how long, and a session that has answered that
--       it holds n, or 'foreign' if someone else has, or ''
-- Returns 'won TOKEN WAITING SETTLE', with WAITING 1 if others do, else 0, and SETTLE in
--         microseconds,
--         'held PLACE' (PLACE 0: not queued), 'held PLACE yield TIME', with TIME in
--         microseconds, where the lock is left to portalocker, 'held 1 standby' where
--         the session is to stay on the channel, and the lock may be given to it,
--         'given' where that was done meanwhile, 'first', or 'notyet'.
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid, mode, reserve, run, about, ttl, settle, settle_long, known =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7],
  ARGV[8], ARGV[9], ARGV[10]
local waits = mode ~= 'once'

local values = read()
local last, _, _, token = parse_holder(values[2])
local named = last or sid
local on_lock, mine, theirs, lives =
  subscribers(n, hold_channel(n, sid), hold_channel(n, named), session_channel(named))

-- Not processed yet: this script came by another connection than the SUBSCRIBE.
if mine == 0 then return 'notyet' end

-- Only what this claim comes to counts.
if parse_standby(values[4]) == sid then call('DEL', standby) end

local ahead = first_waiting(n, sid)
if ahead == sid then ahead = nil end

-- One that stands by has been given the lock while this script was on its way. Who else
-- is on the channel has come since then.
if mode == 'again' and last == sid and token ~= '0' then return 'given' end

local function queue_up()
  if not waits then return 'held 0' end
  return 'held ' .. (place_of(sid) or append(sid, ttl))
end

-- While the lock is left to portalocker's processes, a claim leaves the channel at once,
-- whoever else is there.
local left = yield_left(values[3])
local is_held = on_lock > 1 and last and last ~= sid and theirs > 0
if left > 0 and not is_held then return string.format('%s yield %.0f', queue_up(), left) end

-- Being alone on the channel is what wins, always. Nobody stands by then.
if on_lock == 1 and not ahead then
  if values[4] then call('DEL', standby) end
  return win(n, values, sid, lives > 0,
    tonumber(reserve), run, about, ttl, tonumber(settle), tonumber(settle_long))
end

if on_lock == 1 then
  wake(n, ahead)
  return queue_up()
end

if is_held then
  local answer = queue_up()
  if waits then publish(hold_channel(n, last), 'wait') end
  -- Not where it only claims the lock, and would not be alone; nor where one of
  -- portalocker's processes has asked for it lately, which has to find the channel empty.
  if answer == 'held 1' and (mode == 'standby' or mode == 'again') and token ~= '0' and not values[3] then
    call('SET', standby, table.concat({sid, reserve, ttl, settle, settle_long, run, about}, ' '), 'EX', ttl)
    return 'held 1 standby'
  end
  return answer
end

if ahead then
  -- Nobody else may be there but the one that stands by.
  if on_lock == 2 and subscribers(hold_channel(n, ahead)) > 0 then wake(n, ahead) end
  return queue_up()
end
if known == 'foreign' then return queue_up() end

if known ~= '' and subscribers(hold_channel(n, known)) > 0 then
  -- A holder whose hint was lost.
  call('SET', holder, format_holder(known, 0, run, 0, 0, '- 0 - -'), 'EX', ttl)
  local answer = queue_up()
  publish(hold_channel(n, known), 'renew')
  if waits then publish(hold_channel(n, known), 'wait') end
  return answer
end

-- Racing claims, or a foreign subscriber: of the racing sessions, the one that is
-- named stays.
local now = microseconds()
local till = settled_at(values[2], lives > 0, now, run, tonumber(settle), tonumber(settle_long))
call('SET', holder, format_holder(sid, 0, run, till, now, about), 'EX', ttl)
return 'first'
