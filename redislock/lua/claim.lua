-- Claims lock n for a session that has subscribed to n and to its hold channel.
-- KEYS: n-fence, n-holder, n-queue, n-yield
-- ARGV: n, sid, '1' if the session will wait, how many tokens to reserve besides
--       the one, the server's run id, CLIENT PID HOST for n-holder, expiry in
--       seconds, how many microseconds to settle after a session that is gone,
--       and after one whose server is gone too, and a session that has answered
--       that it holds n, or 'foreign' if someone else has, or ''
-- Returns 'won TOKEN WAITING SETTLE', with WAITING 1 if others do, else 0, and SETTLE in
--         microseconds,
--         'held PLACE' (PLACE 0: not queued), 'held PLACE yield TIME', with TIME in
--         microseconds, where the lock is left to portalocker, 'first', 'lingers' if a
--         session that may linger is to be asked by one who will not wait, or 'notyet'.
-- A step of ../protocol.pml: a change here asks for one there.
local fence, holder, queue, yield = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local n, sid, waits, reserve, run, about, ttl, settle, settle_long, known =
  ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7],
  tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]

local values = call('MGET', fence, holder, yield) -- nil for a key of another type
local last, last_run, till = parse_holder(values[2])
local named = last or sid
local on_lock, mine, theirs, session_lives =
  subscribers(n, hold_channel(n, sid), hold_channel(n, named), session_channel(named))

-- Not processed yet: this script came by another connection than the SUBSCRIBE.
if mine == 0 then return 'notyet' end

local ahead = first_waiting(n, queue, sid)
local is_next = ahead == sid
if is_next then ahead = nil end

local function queue_up()
  if not waits then return 'held 0' end
  return 'held ' .. (place_of(queue, sid) or append(queue, sid, ttl))
end

local left = yield_left(values[3])
if on_lock == 1 and left > 0 then return string.format('%s yield %.0f', queue_up(), left) end

-- Until when the one who takes the lock after the last holder has to settle.
local now = microseconds()
local function settled_at()
  local debt = till and till > now and math.min(till, now + settle_long) or 0
  if last and session_lives == 0 then
    return math.max(debt, now + (last_run == run and settle or settle_long))
  end
  return debt
end

-- Being alone on the channel is what wins, always.
if on_lock == 1 and not ahead then
  local token, before = now, tonumber(values[1])
  if before and before >= token and before < 9007199254740000 then token = before + 1 end
  till = settled_at()
  call('SET', fence, string.format('%.0f', token + reserve), 'EX', ttl)
  call('SET', holder, format_holder(sid, token, run, till, now, about), 'EX', ttl)
  local waiting = false
  if is_next then
    call('LPOP', queue)
    move_up(n, queue, 1)
    waiting = on_queue('LINDEX', queue, 0)
  end
  return string.format('won %.0f %d %.0f', token, waiting and 1 or 0, math.max(0, till - now))
end

if on_lock == 1 then
  wake(n, ahead)
  return queue_up()
end

if last and last ~= sid and theirs > 0 then
  if not waits and not ahead and known == '' and may_linger(values[2]) then return 'lingers' end
  local answer = queue_up()
  if waits then publish(hold_channel(n, last), 'wait') end
  return answer
end

if ahead or known == 'foreign' then return queue_up() end

if known ~= '' and subscribers(hold_channel(n, known)) > 0 then
  -- A holder whose hint was lost. It may linger, for all that is known.
  call('SET', holder, format_holder(known, 0, run, 0, 0, '- - - linger'), 'EX', ttl)
  local answer = queue_up()
  if waits then publish(hold_channel(n, known), 'wait') end
  return answer
end

-- Racing claims, or a foreign subscriber: of the racing sessions, the one that is
-- named stays.
call('SET', holder, format_holder(sid, 0, run, settled_at(), now, about), 'EX', ttl)
return 'first'
