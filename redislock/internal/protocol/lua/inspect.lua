-- Tells who holds lock n, and disturbs nobody.
-- ARGV: n
-- Returns 'WAITERS free', 'WAITERS held VALUE' with what the holder key says of the session
-- that holds it, 'WAITERS held SID' where no more is known, or 'WAITERS held' where
-- the holder is not a session, or not known.
-- What the key says counts only if that session is on the hold channel now.
local n = ARGV[1]
local value = read()[2]

-- A replica knows nothing of who is subscribed, and is to say so: it refuses what may
-- write. This one changes nothing.
call('LREM', queue, 0, 'locker:nobody')

local last, _, _, token = parse_holder(value)
local on_lock, theirs = subscribers(n, hold_channel(n, last or ''))

-- Those of the queue who are alive, asked in steps, as there is a limit to arguments.
local queued = call('LRANGE', queue, 0, -1)
local waiting = 0
for first = 1, #queued, 500 do
  local channels = {}
  for i = first, math.min(first + 499, #queued) do
    channels[#channels + 1] = wait_channel(n, queued[i])
    channels[#channels + 1] = hold_channel(n, queued[i])
  end
  local on = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', unpack(channels))
  for i = 2, #on, 4 do
    if on[i] > 0 or on[i + 2] > 0 then waiting = waiting + 1 end
  end
end
local found = string.format('%d ', waiting)

if on_lock == 0 then return found .. 'free' end
if last and theirs > 0 and token ~= '0' then return found .. 'held ' .. value end
-- Nobody is named, or one that claims it. Which sessions are on the lock?
local pattern = string.gsub(n, '[%*%?%[%]\\%^%-]', '\\%0') .. ':h:*'
local sessions = call('PUBSUB', sharded and 'SHARDCHANNELS' or 'CHANNELS', pattern)
if on_lock > #sessions then return found .. 'held' end -- a foreign subscriber
if last and theirs > 0 then return found .. 'free' end -- claims that race
-- Those of the queue claim it or stand by.
local queues, holders = {}, {}
for _, sid in ipairs(queued) do queues[sid] = true end
for _, channel in ipairs(sessions) do
  local sid = string.sub(channel, #n + 4)
  if not queues[sid] then holders[#holders + 1] = sid end
end
if #holders == 0 then return found .. 'free' end
if #holders == 1 then return found .. 'held ' .. holders[1] end
return found .. 'held'
