-- The first part of claim.lua, for a lock that is free, as most are: nobody else is on
-- its channel, nobody waits, it is not left to portalocker, and no other session has
-- held it last, or is to be settled after. Then nothing of what comes after this is needed; the answer is the
-- same. Whatever else it finds, an error too, is for claim.lua.
-- A step of ../protocol.pml: a change here asks for one there.
do
  local n, sid, reserve, ttl = ARGV[1], ARGV[2], ARGV[4], ARGV[7]
  local call, format = redis.pcall, string.format
  local values = call('MGET', KEYS[1], KEYS[2], KEYS[4])
  local on = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', n, n .. ':h:' .. sid)
  if on[2] == 1 and on[4] > 0 and not values.err and not values[3] and call('LINDEX', KEYS[3], 0) == false then
    local last, till = sid, '0'
    if values[2] then last, till = string.match(values[2], '^(%x+) %d+ %S+ (%d+) ') end
    local time = call('TIME')
    local now = not time.err and time[1] * 1000000 + time[2] or 0
    if last == sid and tonumber(till) <= now and now > (tonumber(values[1]) or 0) then
      local token = format('%.0f', now)
      local set = call('SET', KEYS[1], reserve == '0' and token or format('%.0f', now + reserve), 'EX', ttl)
      if not set.err then
        set = call('SET', KEYS[2], sid .. ' ' .. token .. ' ' .. ARGV[5] .. ' 0 ' .. token .. ' ' .. ARGV[6], 'EX', ttl)
      end
      if not set.err then return 'won ' .. token .. ' 0 0' end
    end
  end
end
