-- The first part of release.lua, for the usual hand-off: from the session that has held
-- the lock last to the first in the queue, which stands by, with those behind it alive.
-- Then nothing of what comes after this is needed; the outcome is the same. Whatever else
-- it finds, an error too, is for release.lua.
-- A step of ../protocol.pml: a change here asks for one there.
do
  local n, sid, call, format, match = ARGV[1], ARGV[2], redis.pcall, string.format, string.match
  local values = ARGV[3] == 'none' and call('MGET', KEYS[1], KEYS[2], KEYS[4], KEYS[5])
  local queued = call('LRANGE', KEYS[3], 0, 2)
  local first, second, third = queued[1], queued[2], queued[3]
  if first and values and not values.err and values[1] and values[2] and not values[3] and values[4]
    and not KEYS[6] and string.find(values[1], '^%d+$') then
    local last, till = match(values[2], '^(%x+) %d+ %S+ (%d+) ')
    local next, reserve, ttl, run, about = match(values[4], '^(%x+) (%d+) (%d+) %d+ %d+ (%S+) (.+)$')
    if last == sid and next == first then
      local waits, holds, publish = n .. ':w:', n .. ':h:', sharded and 'SPUBLISH' or 'PUBLISH'
      local on = call('PUBSUB', sharded and 'SHARDNUMSUB' or 'NUMSUB', n, holds .. sid, holds .. next,
        'locker:session:' .. sid, waits .. (second or ''), waits .. (third or ''))
      local time = call('TIME')
      local now = time.err and 0 or time[1] * 1000000 + time[2]
      if on[2] == 1 and on[4] == 0 and on[6] == 1 and on[8] > 0 and (not second or on[10] > 0) and (not third or on[12] > 0)
        and tonumber(till) <= now and now > tonumber(values[1]) then
        local token = format('%.0f', now)
        local set = call('SET', KEYS[1], reserve == '0' and token or format('%.0f', now + reserve), 'EX', ttl)
        if not set.err then
          set = call('SET', KEYS[2], next .. ' ' .. token .. ' ' .. run .. ' 0 ' .. token .. ' ' .. about, 'EX', ttl)
        end
        if not set.err and call('LPOP', KEYS[3]) == next then
          if second then call(publish, waits .. second, 'next') end
          if third then call(publish, waits .. third, 'near') end
          set = call(publish, holds .. next, 'won ' .. token .. (second and ' 1 0' or ' 0 0'))
          if type(set) == 'number' then return 'ok' end
        end
      end
    end
  end
end
