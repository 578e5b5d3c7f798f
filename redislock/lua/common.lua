-- The beginning of every script. The keys and channels of lock n:
--   n-fence   the last token                      n           the lock
--   n-holder  who holds it (a hint)               n:h:<sid>   held or claimed by session sid
--   n-queue   the sessions that wait, in order    n:w:<sid>   waited for by session sid
--   n-yield   until when it is left to portalocker's processes
--   n-standby whose turn it is next, if that session waits on the lock's channel
-- Keys are hints: none of them grants a lock.
--
-- A value of n-holder is "SID TOKEN RUN UNTIL SINCE CLIENT PID HOST": the
-- session, its token (0 while it claims), the server's run id, the times in
-- microseconds until when the next holder has to settle and since when the lock
-- is held, and whose session it is. "-" is unknown.
-- Much of it is in ../protocol.pml, too: a change here asks for one there.

-- redis.call, but an error says of which command it is. (Redis does not tell
-- which one an ACL denies to a script.)
local function call(command, ...)
  local r = redis.pcall(command, ...)
  if type(r) == 'table' and r.err then
    if command == 'PUBSUB' then command = command .. ' ' .. ... end
    error("'" .. string.lower(command) .. "' in a script: " .. r.err, 0)
  end
  return r
end

local function hold_channel(n, sid) return n .. ':h:' .. sid end
local function wait_channel(n, sid) return n .. ':w:' .. sid end
local function session_channel(sid) return 'locker:session:' .. sid end

-- In a Cluster (sharded, which is set before this), all channels are the shard's.
local function publish(channel, message)
  return call(sharded and 'SPUBLISH' or 'PUBLISH', channel, message)
end

-- The numbers of subscribers of up to four channels.
local function subscribers(...)
  local r = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', ...)
  return r[2], r[4], r[6], r[8]
end

-- SID, RUN, UNTIL, TOKEN and CLIENT of a value of n-holder, or nil.
local function parse_holder(value)
  if value then
    local sid, token, run, till, client = string.match(value, '^(%x+) (%d+) (%S+) (%d+) %d+ (%S+) ')
    if sid and #sid == 32 then return sid, run, tonumber(till), token, client end
  end
end

local function format_holder(sid, token, run, till, since, about)
  return string.format('%s %.0f %s %.0f %.0f %s', sid, token, run, till, since, about)
end

-- The server's clock in microseconds.
local function microseconds()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A value of n-yield, or nil if it is none that release.lua has set lately.
local function parse_yield(value, now)
  local till = value and tonumber(value)
  if till and math.abs(till - now) <= 1000000 then return till end
end

-- For how many microseconds yet the lock is left to portalocker's processes; 0: it
-- is not.
local function yield_left(value)
  if not value then return 0 end
  local now = microseconds()
  return math.max(0, (parse_yield(value, now) or 0) - now)
end

-- Whether session sid still waits for n or claims it.
local function is_waiting(n, sid)
  local waits, holds = subscribers(wait_channel(n, sid), hold_channel(n, sid))
  return waits > 0 or holds > 0
end

-- Tells session sid, which waits for n or is about to. (Not by what PUBLISH returns:
-- that counts those who subscribe to patterns.)
local function tell(n, sid, message)
  local channel = wait_channel(n, sid)
  if subscribers(channel) == 0 then channel = hold_channel(n, sid) end
  publish(channel, message)
end

local function wake(n, sid) tell(n, sid, 'wake') end

-- Runs a command on the queue; a key of another type is deleted and counts as
-- missing.
local function on_queue(command, key, ...)
  local r = redis.pcall(command, key, ...)
  if type(r) ~= 'table' or not r.err then return r end
  if string.find(r.err, 'WRONGTYPE', 1, true) then call('DEL', key) end
  return call(command, key, ...)
end

-- Tells those who have come to the first two places of the queue: the first is to
-- stand by, and both look every check interval, those behind them more seldom.
-- The dead do not count: they are removed.
local function move_up(n, queue)
  local place = 0
  while place < 2 do
    local sid = on_queue('LINDEX', queue, place)
    if not sid then return end
    if is_waiting(n, sid) then
      tell(n, sid, place == 0 and 'next' or 'near')
      place = place + 1
    else
      call('LREM', queue, 0, sid)
    end
  end
end

-- The first live session in the queue, which is rid of the dead ones before it.
local function first_waiting(n, queue, me)
  local dead = false
  while true do
    local sid = on_queue('LINDEX', queue, 0)
    if not sid or sid == me or is_waiting(n, sid) then
      if dead then move_up(n, queue) end
      return sid
    end
    call('LPOP', queue)
    dead = true
  end
end

-- Until when the one who takes the lock now, after the last holder, has to settle. value
-- is that of n-holder, lives whether the session that it names does.
local function settled_at(value, lives, now, run, settle, settle_long)
  local last, last_run, till = parse_holder(value)
  local debt = till and till > now and math.min(till, now + settle_long) or 0
  if last and not lives then return math.max(debt, now + (last_run == run and settle or settle_long)) end
  return debt
end

-- Makes session sid, which is alone on the lock's channel, the holder. values are those
-- of n-fence and n-holder; for the rest see claim.lua, also for what it returns.
local function win(n, fence, holder, queue, values, sid, lives, reserve, run, about, ttl, settle, settle_long)
  local now = microseconds()
  local token, before = now, tonumber(values[1])
  if before and before >= token and before < 9007199254740000 then token = before + 1 end
  local till = settled_at(values[2], lives, now, run, settle, settle_long)
  call('SET', fence, string.format('%.0f', token + reserve), 'EX', ttl)
  call('SET', holder, format_holder(sid, token, run, till, now, about), 'EX', ttl)
  local waiting = on_queue('LINDEX', queue, 0)
  if waiting == sid then
    call('LPOP', queue)
    move_up(n, queue)
    waiting = on_queue('LINDEX', queue, 0)
  end
  return string.format('won %.0f %d %.0f', token, waiting and 1 or 0, math.max(0, till - now))
end

-- Makes session sid, the first in the queue, the holder if it stands by and is alone on
-- the lock's channel, and tells it. values are those of n-fence, n-holder and n-standby.
local function give(n, fence, holder, queue, values, sid)
  local next, reserve, ttl, settle, settle_long, run, about =
    string.match(values[3] or '', '^(%x+) (%d+) (%d+) (%d+) (%d+) (%S+) (.+)$')
  if next ~= sid then return false end
  local last = parse_holder(values[2])
  local on_lock, its, lives = subscribers(n, hold_channel(n, sid), session_channel(last or sid))
  if on_lock ~= 1 or its == 0 then return false end
  publish(hold_channel(n, sid), win(n, fence, holder, queue, values, sid, lives > 0,
    tonumber(reserve), run, about, ttl, tonumber(settle), tonumber(settle_long)))
  return true
end

-- Passes the lock on to the first of those who wait: gives it to it if it stands by, or
-- wakes it; or, where another session holds it, tells that one, which passes it on when
-- it leaves. While it is left to portalocker's processes, those who wait look at its
-- end; but one that stands by has to leave the channel until then.
local function pass_on(n, fence, holder, queue, yield, standby, sid)
  local ahead = first_waiting(n, queue, nil)
  if not ahead then return end
  local values = call('MGET', fence, holder, standby, yield)
  local last = parse_holder(values[2])
  if last and last ~= sid and subscribers(hold_channel(n, last)) > 0 then
    publish(hold_channel(n, last), 'wait')
  elseif yield_left(values[4]) > 0 then
    if subscribers(hold_channel(n, ahead)) > 0 then wake(n, ahead) end
  elseif not give(n, fence, holder, queue, values, ahead) then
    wake(n, ahead)
  end
end

-- The place of sid in the queue, which starts at 1, or nil.
local function place_of(queue, sid)
  for place, other in ipairs(on_queue('LRANGE', queue, 0, -1)) do
    if other == sid then return place end
  end
end

local function append(queue, sid, ttl)
  local place = call('RPUSH', queue, sid)
  call('EXPIRE', queue, ttl)
  return place
end
