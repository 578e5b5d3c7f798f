-- The beginning of every script. The keys and channels of lock n:
--   n:locker:fence    the last token                   n           the lock
--   n:locker:holder   who holds it (a hint)            n:h:<sid>   held or claimed by session sid
--   n:locker:queue    the sessions that wait, in order n:w:<sid>   waited for by session sid
--   n:locker:yield    until when it is left to portalocker's processes
--   n:locker:standby  whose turn it is next, if that session waits on the lock's channel
--   n-fence           portalocker's last token: only with Options.PortalockerNames
-- Keys are hints: none of them grants a lock.
--
-- A value of the holder key is "SID TOKEN RUN UNTIL SINCE CLIENT TIMEOUT PID HOST": the
-- session, its token (0 while it claims), the server's run id, the times in
-- microseconds until when the next holder has to settle and since when the lock
-- is held, the id of its connection, its UnavailableTimeout in microseconds, and whose
-- session it is. "-" is unknown.
-- Much of it is in ../protocol.pml, too: a change here asks for one there.
local fence, holder, queue, yield, standby, counter = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]

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

-- A key that holds what no script of ours has put there is an application's. The script
-- ends before anything is changed, as it looks at all keys before it changes one.
local function refuse(key)
  error("the key '" .. key .. "' holds something that is not of a lock: nothing was changed", 0)
end

local function is_id(s) return #s == 32 and not string.find(s, '[^0-9a-f]') end

-- Whether a value is a token, or a time. Beyond 2^53, Lua cannot count.
local function is_number(value) return string.find(value, '^%d+$') and tonumber(value) < 9007199254740000 end

-- SID, RUN, UNTIL, TOKEN, CLIENT and TIMEOUT of a value of the holder key, or nil.
local function parse_holder(value)
  if value then
    local sid, token, run, till, client, timeout =
      string.match(value, '^(%x+) (%d+) (%S+) (%d+) %d+ (%S+) (%d+) %S+ %S+$')
    if sid and is_id(sid) then return sid, run, tonumber(till), token, client, tonumber(timeout) end
  end
end

local function format_holder(sid, token, run, till, since, about)
  return string.format('%s %.0f %s %.0f %.0f %s', sid, token, run, till, since, about)
end

-- SID, how many tokens to reserve, the expiry, the times to settle, RUN, and
-- CLIENT TIMEOUT PID HOST of a value of the standby key, or nil.
local function parse_standby(value)
  local sid, reserve, ttl, settle, settle_long, run, about =
    string.match(value or '', '^(%x+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+ %d+ %S+ %S+)$')
  if sid and is_id(sid) then return sid, reserve, ttl, settle, settle_long, run, about end
end

-- Until when the lock is left to portalocker's processes of the first generation, until
-- when to those of the later ones, and '1' if one of these has asked for it since; nil if
-- value is not one of the yield key.
local function parse_yield(value)
  if not value then return 0, 0, '0' end
  local first, later, asked = string.match(value, '^(%d+) (%d+) ([01])$')
  if first then return tonumber(first), tonumber(later), asked end
end

-- The session at a place in the queue, which starts at 0, or false.
local function queued_at(place)
  local sid = redis.pcall('LINDEX', queue, place)
  if type(sid) == 'table' and sid.err then
    if string.find(sid.err, 'WRONGTYPE', 1, true) then refuse(queue) end
    error("'lindex' in a script: " .. sid.err, 0)
  end
  if sid and not is_id(sid) then refuse(queue) end
  return sid
end

local yielded = false -- what read has found in the yield key

-- The values of the keys of the fence, the holder, portalocker's time, the standby, and
-- portalocker's fence; false where there is none.
local function read()
  local values = call('MGET', fence, holder, yield, standby, counter or fence)
  local last, held, left, next, counted = values[1], values[2], values[3], values[4], counter and values[5]
  values[5] = counted
  if last and not is_number(last) then refuse(fence) end
  if held and not parse_holder(held) then refuse(holder) end
  if left and not parse_yield(left) then refuse(yield) end
  if next and not parse_standby(next) then refuse(standby) end
  if counted and not is_number(counted) then refuse(counter) end
  -- A key of another type is nil to MGET.
  if not (last and held and left and next) or counter and not counted then
    local keys = {fence, holder, yield, standby, counter}
    local found = (last and 1 or 0) + (held and 1 or 0) + (left and 1 or 0) + (next and 1 or 0) + (counted and 1 or 0)
    if call('EXISTS', unpack(keys)) > found then
      for i, key in ipairs(keys) do
        if not values[i] and call('EXISTS', key) > 0 then refuse(key) end
      end
    end
  end
  queued_at(0)
  yielded = values[3]
  return values
end

-- The server's clock in microseconds.
local function microseconds()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- For how many microseconds yet the lock is left to portalocker's processes; 0: it
-- is not.
local function yield_left(value)
  if not value then return 0 end
  local now, first, later = microseconds(), parse_yield(value)
  local left = 0
  for _, till in ipairs({first, later}) do
    if till - now <= 2000000 then left = math.max(left, till - now) end -- more, if the clock was set back
  end
  return left
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

-- Tells those who have come to the first two places of the queue: the first is to
-- stand by, unless the lock was left to portalocker's processes lately, and both look
-- every check interval, those behind them more seldom. The dead do not count: they are
-- removed. read has run.
local function move_up(n)
  local place = 0
  while place < 2 do
    local sid = queued_at(place)
    if not sid then return end
    if is_waiting(n, sid) then
      tell(n, sid, place == 0 and not yielded and 'next' or 'near')
      place = place + 1
    else
      call('LREM', queue, 0, sid)
    end
  end
end

-- The first live session in the queue, which is rid of the dead ones before it.
local function first_waiting(n, me)
  local dead = false
  while true do
    local sid = queued_at(0)
    if not sid or sid == me or is_waiting(n, sid) then
      if dead then move_up(n) end
      return sid
    end
    call('LPOP', queue)
    dead = true
  end
end

-- How long is waited after a holder whose server is gone: for its lease.
local function lease(timeout, settle_long) return timeout and timeout > 0 and timeout * 3 / 4 or settle_long end

-- Until when the one who takes the lock now, after the last holder, has to settle. value
-- is that of the holder key, lives whether the session that it names does.
local function settled_at(value, lives, now, run, settle, settle_long)
  local last, last_run, till, _, _, timeout = parse_holder(value)
  local long = lease(timeout, settle_long)
  local debt = till and till > now and math.min(till, now + math.max(long, settle_long)) or 0
  if last and not lives then return math.max(debt, now + (last_run == run and settle or long)) end
  return debt
end

-- Makes session sid, which is alone on the lock's channel, the holder. values are those
-- of read; for the rest see claim.lua, also for what it returns.
local function win(n, values, sid, lives, reserve, run, about, ttl, settle, settle_long)
  local now = microseconds()
  local token = math.max(now, tonumber(values[1] or 0) + 1, tonumber(values[5] or 0) + 1)
  local till = settled_at(values[2], lives, now, run, settle, settle_long)
  local last = string.format('%.0f', token + reserve)
  call('SET', fence, last, 'EX', ttl)
  if counter then call('SET', counter, last, 'KEEPTTL') end
  call('SET', holder, format_holder(sid, token, run, till, now, about), 'EX', ttl)
  local waiting = queued_at(0)
  if waiting == sid then
    call('LPOP', queue)
    move_up(n)
    waiting = queued_at(0)
  end
  return string.format('won %.0f %d %.0f', token, waiting and 1 or 0, math.max(0, till - now))
end

-- Makes session sid, the first in the queue, the holder if it stands by and is alone on
-- the lock's channel, and tells it. values are those of read.
local function give(n, values, sid)
  local next, reserve, ttl, settle, settle_long, run, about = parse_standby(values[4])
  if next ~= sid then return false end
  local last = parse_holder(values[2])
  local on_lock, its, lives = subscribers(n, hold_channel(n, sid), session_channel(last or sid))
  if on_lock ~= 1 or its == 0 then return false end
  publish(hold_channel(n, sid), win(n, values, sid, lives > 0,
    tonumber(reserve), run, about, ttl, tonumber(settle), tonumber(settle_long)))
  return true
end

-- Leaves the lock to portalocker's processes if one of them has asked for it, it is time
-- to, and no other session holds it. values are those of read, and are brought up to
-- date. How long and how often, in microseconds, is explained in ../portalocker.go.
local function leave_to_portalocker(n, sid, values, generation)
  local first, later, asked = parse_yield(values[3])
  if generation == 'later' then asked = '1' end
  if generation == 'none' and asked == '0' then return end
  local now, last = microseconds(), parse_holder(values[2])
  local is_held = last and last ~= sid and subscribers(hold_channel(n, last)) > 0
  local function begins(till, time, every)
    local again = till - time + every
    return not is_held and (now >= again or again > now + every) -- the clock was set back
  end
  if asked == '1' and begins(later, 2000000, 4000000) then
    later, asked = now + 2000000, '0'
  elseif generation == 'first' and begins(first, 300000, 500000) then
    first = now + 300000
  end
  local value = string.format('%.0f %.0f %s', first, later, asked)
  if value == values[3] then return end
  -- For as long as it matters, and an ask, too, that another holder is to know of.
  local expiry = math.max(500, math.min(4000, (later + 2000000 - now) / 1000), asked == '1' and 4000 or 0)
  call('SET', yield, value, 'PX', string.format('%.0f', expiry))
  values[3], yielded = value, value
end

-- Passes the lock on to the first of those who wait: gives it to it if it stands by, or
-- wakes it; or, where another session holds it, tells that one, which passes it on when
-- it leaves. While it is left to portalocker's processes, those who wait look at its
-- end; but one that stands by has to leave the channel until then. values are those of
-- read.
local function pass_on(n, sid, values)
  local ahead = first_waiting(n, nil)
  if not ahead then return end
  local last = parse_holder(values[2])
  if last and last ~= sid and subscribers(hold_channel(n, last)) > 0 then
    publish(hold_channel(n, last), 'wait')
  elseif yield_left(values[3]) > 0 then
    if subscribers(hold_channel(n, ahead)) > 0 then wake(n, ahead) end
  elseif not give(n, values, ahead) then
    wake(n, ahead)
  end
end

-- The place of sid in the queue, which starts at 1, or nil.
local function place_of(sid)
  local before = call('LPOS', queue, sid)
  return before and before + 1
end

local function append(sid, ttl)
  local place = call('RPUSH', queue, sid)
  call('EXPIRE', queue, ttl)
  return place
end
