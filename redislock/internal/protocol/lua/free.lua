-- The first part of claim.lua, for a lock that is free, as most are: nobody else is on
-- its channel, nobody waits or stands by, it is not left to portalocker, and no other
-- session has held it last, or is to be settled after. Then nothing of what comes after
-- this is needed; the answer is the same. Whatever else it finds, an error too, is for
-- claim.lua, also a key of another type, which is nil to MGET. Tokens are compared as strings, which takes less.
-- A step of ../protocol.pml: a change here asks for one there.
do
  local n, sid, reserve, ttl = ARGV[1], ARGV[2], ARGV[4], ARGV[7]
  local call, sub = redis.pcall, string.sub
  local values = not KEYS[6] and call('MGET', KEYS[1], KEYS[2])
  local on = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', n, n .. ':h:' .. sid)
  if values and on[2] == 1 and on[4] > 0 and not values.err and call('EXISTS', unpack(KEYS)) == (values[1] and 1 or 0) + (values[2] and 1 or 0) then
    local last, hint, time = values[1], values[2], call('TIME')
    if not time.err and (not hint or sub(hint, 1, 32) == sid and string.find(hint, '^%x+ %d+ %S+ 0 ')) then
      local token = time[1] .. sub('00000' .. time[2], -6)
      if not last or #last == #token and last < token and not string.find(last, '%D') then
        local fence = reserve == '0' and token or string.format('%.0f', token + reserve)
        local set = call('SET', KEYS[1], fence, 'EX', ttl)
        if not set.err then
          set = call('SET', KEYS[2], sid .. ' ' .. token .. ' ' .. ARGV[5] .. ' 0 ' .. token .. ' ' .. ARGV[6], 'EX', ttl)
        end
        if not set.err then return 'won ' .. token .. ' 0 0' end
      end
    end
  end
end
