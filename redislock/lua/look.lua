-- Looks at lock n without subscribing to it.
-- KEYS: n-holder, n-queue
-- ARGV: n, sid, expiry in seconds, and why: 'poll' for a session that waits,
--       'join' for one that has subscribed to its wait channel to do so, 'ask'
--       for one that will not
-- Returns 'free' if the session may claim, else 'held PLACE', with PLACE 1 where
-- the lock is free and it is another one's turn, and 0 for one that asks.
local holder, queue = KEYS[1], KEYS[2]
local n, sid, ttl, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local is_free = subscribers(n) == 0
local ahead = first_waiting(n, queue, sid)
local place = place_of(queue, sid)
if not place and why ~= 'poll' then
  if is_free and not ahead then return 'free' end
  if is_free then wake(n, ahead) end
  if why == 'ask' then return 'held 0' end
end

if not place then
  if why == 'poll' then
    -- The queue was lost. Those who wait are known by their channels.
    local pattern = string.gsub(n, '[%*%?%[%]\\%^%-]', '\\%0') .. ':w:*'
    local queued = {}
    for _, other in ipairs(on_queue('LRANGE', queue, 0, -1)) do queued[other] = true end
    for _, channel in ipairs(call('PUBSUB', 'CHANNELS', pattern)) do
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
  if last then call('PUBLISH', hold_channel(n, last), 'wait') end
end

if not is_free then return 'held ' .. place end
if not ahead or ahead == sid then return 'free' end
wake(n, ahead)
return 'held 1'
