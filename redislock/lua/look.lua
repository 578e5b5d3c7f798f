-- Looks at lock n without subscribing to it.
-- KEYS: n-holder, n-queue, n-yield
-- ARGV: n, sid, expiry in seconds, and why: 'poll' for a session that waits,
--       'join' for one that has subscribed to its wait channel to do so, 'ask'
--       for one that will not; a ping that is answered to the session, and a
--       session that is to be put out of the queue if it is its turn, or ''
-- Returns 'free' if the session may claim, else 'held PLACE', with PLACE 0 for one
-- that asks, or 'held PLACE yield TIME' as claim.lua does. To a poll of the first two in the queue it says, too, who keeps the
-- session from the lock: 'idle SID' where the lock is free and it is the turn of
-- that one, else 'pinged SID TOKEN CLIENT' for the holder, or 'pinged' where the
-- holder is not known, if the ping has reached anybody.
-- A step of ../protocol.pml: a change here asks for one there.
local holder, queue, yield = KEYS[1], KEYS[2], KEYS[3]
local n, sid, ttl, why, ping, evict = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local left = yield_left(call('MGET', yield)[1])
local is_free = subscribers(n) == 0 and left == 0
local ahead = first_waiting(n, queue, sid)
if is_free and ahead == evict then
  on_queue('LREM', queue, 0, evict)
  move_up(n, queue, 0)
  ahead = first_waiting(n, queue, sid)
end
local place = place_of(queue, sid)
if not place and why ~= 'poll' then
  if is_free and not ahead then return 'free' end
  if is_free then wake(n, ahead) end
  if why == 'ask' then
    return not ahead and left == 0 and may_linger(call('MGET', holder)[1]) and 'free' or 'held 0'
  end
end

if not place then
  if why == 'poll' then
    -- The queue was lost. Those who wait are known by their channels.
    local pattern = string.gsub(n, '[%*%?%[%]\\%^%-]', '\\%0') .. ':w:*'
    local queued = {}
    for _, other in ipairs(on_queue('LRANGE', queue, 0, -1)) do queued[other] = true end
    for _, channel in ipairs(call('PUBSUB', sharded and 'SHARDCHANNELS' or 'CHANNELS', pattern)) do
      local other = string.sub(channel, #n + 4)
      if #other == 32 and not queued[other] and subscribers(session_channel(other)) > 0 then
        append(queue, other, ttl)
      end
    end
    ahead = first_waiting(n, queue, sid)
    move_up(n, queue, 0)
  end
  place = place_of(queue, sid) or append(queue, sid, ttl)
  local last = parse_holder(call('MGET', holder)[1])
  if last and subscribers(hold_channel(n, last)) > 0 then
    publish(hold_channel(n, last), 'wait')
  elseif not is_free then
    publish(n, ping) -- claims that are to fail: who is pinged knows that others wait
  end
end

if is_free then
  if not ahead or ahead == sid then return 'free' end
  wake(n, ahead)
  return 'held 1 idle ' .. ahead
end
local answer = 'held ' .. place
if left > 0 then return string.format('%s yield %.0f', answer, left) end
if why ~= 'poll' or place > 2 or publish(n, ping) == 0 then return answer end
local last, _, _, token, client = parse_holder(call('MGET', holder)[1])
if last and last ~= sid and subscribers(hold_channel(n, last)) > 0 then
  return answer .. ' pinged ' .. last .. ' ' .. token .. ' ' .. client
end
return answer .. ' pinged'
