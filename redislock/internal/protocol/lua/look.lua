-- Looks at lock n without subscribing to it.
-- ARGV: n, sid, expiry in seconds, and why: 'poll' for a session that waits,
--       'join' for one that has subscribed to its wait channel to do so, 'ask'
--       for one that will not; a ping that is answered to the session, and a
--       session that is to be put out of the queue if it is its turn, or ''
-- Returns 'free' if the session may claim, else 'held PLACE', with PLACE 0 for one
-- that asks, or 'held PLACE yield TIME' as claim.lua does. To a poll it says,
-- too, who keeps the session from the lock: 'idle SID' where the lock is free and it is
-- the turn of that one, else 'pinged SID TOKEN CLIENT TIMEOUT' for the holder, or for the
-- one that stands by and should have taken the lock, with TOKEN 0; or 'unknown RECEIVERS'
-- where that is not known, with how many others the ping has reached. The last word is
-- 'standby' if the session is the first in the queue, and may claim the lock to stand by.
-- A step of ../protocol.pml: a change here asks for one there.
local n, sid, ttl, why, ping, evict = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local values = read()
local left = yield_left(values[3])
local on_lock, mine = subscribers(n, hold_channel(n, sid))
local ahead = first_waiting(n, sid)
-- Nobody holds it: who is there stands by. It is this session, or the one ahead.
local empty = on_lock == 0 or on_lock == 1 and mine > 0
local stands = on_lock == 1 and mine == 0 and ahead and ahead ~= sid and subscribers(hold_channel(n, ahead)) > 0
local is_free = (empty or stands) and left == 0
if is_free and empty and ahead == evict then
  call('LREM', queue, 0, evict)
  move_up(n)
  ahead = first_waiting(n, sid)
end
local place = place_of(sid)
if not place and why ~= 'poll' then
  if is_free and not ahead then return 'free' end
  if is_free then wake(n, ahead) end
  if why == 'ask' then return 'held 0' end
end

local last, _, _, token, client, timeout = parse_holder(values[2])
if last == sid and mine > 0 then return 'free' end -- it stands by, and was just given the lock
local is_held = last and last ~= sid and subscribers(hold_channel(n, last)) > 0
if not place then
  if why == 'poll' then
    -- The queue was lost. Those who wait are known by their channels, but for those who
    -- hold it or stand by, which have them too.
    local pattern = string.gsub(n, '[%*%?%[%]\\%^%-]', '\\%0') .. ':w:*'
    local queued = {}
    for _, other in ipairs(call('LRANGE', queue, 0, -1)) do queued[other] = true end
    for _, channel in ipairs(call('PUBSUB', sharded and 'SHARDCHANNELS' or 'CHANNELS', pattern)) do
      local other = string.sub(channel, #n + 4)
      if #other == 32 and not queued[other] then
        local lives, on_hold = subscribers(session_channel(other), hold_channel(n, other))
        if lives > 0 and on_hold == 0 then append(other, ttl) end
      end
    end
    ahead = first_waiting(n, sid)
    move_up(n)
  end
  place = place_of(sid) or append(sid, ttl)
  if is_held then
    publish(hold_channel(n, last), 'wait')
  elseif not is_free and left == 0 then
    publish(n, ping) -- claims that are to fail: who is pinged knows that others wait
  end
end

if why == 'poll' and call('TTL', queue) < ttl / 2 then call('EXPIRE', queue, ttl) end
if is_free then
  if not ahead or ahead == sid then return 'free' end
  wake(n, ahead)
  if empty then return 'held 1 idle ' .. ahead end
end
local answer = 'held ' .. place
if left > 0 then return string.format('%s yield %.0f', answer, left) end
local may_stand_by = place == 1 and is_held and token ~= '0' and not values[3] and ' standby' or ''
if why ~= 'poll' then return answer .. may_stand_by end
publish(n, ping)
if is_held then return string.format('%s pinged %s %s %s %.0f%s', answer, last, token, client, timeout, may_stand_by) end
if is_free then
  local next, _, _, _, _, _, about = parse_standby(values[4])
  if next == ahead then return string.format('%s pinged %s 0 %s', answer, next, string.match(about, '^%S+ %d+')) end
end
return answer .. ' unknown ' .. on_lock - (mine > 0 and 1 or 0)
