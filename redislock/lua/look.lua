-- Looks at lock n without subscribing to it.
-- KEYS: n-fence, n-holder, n-queue, n-yield, n-standby
-- ARGV: n, sid, expiry in seconds, and why: 'poll' for a session that waits,
--       'join' for one that has subscribed to its wait channel to do so, 'ask'
--       for one that will not; a ping that is answered to the session, and a
--       session that is to be put out of the queue if it is its turn, or ''
-- Returns 'free' if the session may claim, else 'held PLACE', with PLACE 0 for one
-- that asks, or 'held PLACE yield TIME' as claim.lua does. To a poll of the first two
-- in the queue it says, too, who keeps the session from the lock: 'idle SID' where the
-- lock is free and it is the turn of that one, else 'pinged SID TOKEN CLIENT' for the
-- holder, or for the one that stands by and should have taken the lock, with TOKEN 0; or
-- 'pinged' where that is not known, if the ping has reached anybody. The last word is
-- 'standby' if the session is the first in the queue, and may claim the lock to stand by.
-- A step of ../protocol.pml: a change here asks for one there.
local holder, queue, yield, standby = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local n, sid, ttl, why, ping, evict = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local keeps = call('MGET', yield)[1]
local left = yield_left(keeps)
local on_lock, mine = subscribers(n, hold_channel(n, sid))
local ahead = first_waiting(n, queue, sid)
-- Nobody holds it: who is there stands by. It is this session, or the one ahead.
local empty = on_lock == 0 or on_lock == 1 and mine > 0
local stands = on_lock == 1 and mine == 0 and ahead and ahead ~= sid and subscribers(hold_channel(n, ahead)) > 0
local is_free = (empty or stands) and left == 0
if is_free and empty and ahead == evict then
  on_queue('LREM', queue, 0, evict)
  move_up(n, queue)
  ahead = first_waiting(n, queue, sid)
end
local place = place_of(queue, sid)
if not place and why ~= 'poll' then
  if is_free and not ahead then return 'free' end
  if is_free then wake(n, ahead) end
  if why == 'ask' then return 'held 0' end
end

local last, _, _, token, client = parse_holder(call('MGET', holder)[1])
if last == sid and mine > 0 then return 'free' end -- it stands by, and was just given the lock
local is_held = last and last ~= sid and subscribers(hold_channel(n, last)) > 0
if not place then
  if why == 'poll' then
    -- The queue was lost. Those who wait are known by their channels, but for those who
    -- hold it or stand by, which have them too.
    local pattern = string.gsub(n, '[%*%?%[%]\\%^%-]', '\\%0') .. ':w:*'
    local queued = {}
    for _, other in ipairs(on_queue('LRANGE', queue, 0, -1)) do queued[other] = true end
    for _, channel in ipairs(call('PUBSUB', sharded and 'SHARDCHANNELS' or 'CHANNELS', pattern)) do
      local other = string.sub(channel, #n + 4)
      if #other == 32 and not queued[other] then
        local lives, on_hold = subscribers(session_channel(other), hold_channel(n, other))
        if lives > 0 and on_hold == 0 then append(queue, other, ttl) end
      end
    end
    ahead = first_waiting(n, queue, sid)
    move_up(n, queue)
  end
  place = place_of(queue, sid) or append(queue, sid, ttl)
  if is_held then
    publish(hold_channel(n, last), 'wait')
  elseif not is_free then
    publish(n, ping) -- claims that are to fail: who is pinged knows that others wait
  end
end

if is_free then
  if not ahead or ahead == sid then return 'free' end
  wake(n, ahead)
  if empty then return 'held 1 idle ' .. ahead end
end
local answer = 'held ' .. place
if left > 0 then return string.format('%s yield %.0f', answer, left) end
local may_stand_by = place == 1 and is_held and token ~= '0' and not keeps and ' standby' or ''
if why ~= 'poll' or place > 2 or publish(n, ping) == 0 then return answer .. may_stand_by end
if is_held then return answer .. ' pinged ' .. last .. ' ' .. token .. ' ' .. client .. may_stand_by end
if is_free then
  local next, its = string.match(call('MGET', standby)[1] or '', '^(%x+) %d+ %d+ %d+ %d+ %S+ (%S+) ')
  if next == ahead then return answer .. ' pinged ' .. next .. ' 0 ' .. its end
end
return answer .. ' pinged'
