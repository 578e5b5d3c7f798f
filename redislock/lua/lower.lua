-- Takes back the tokens that a session has reserved and not used, before it leaves the
-- lock: nobody else has had it meanwhile, or n-fence is another one. So the next token is
-- not ahead of the clock, by which the one after that is greater if n-fence is lost.
-- Not in ../protocol.pml, where nothing is reserved: each claim takes the next token.
-- KEYS: n-fence
-- ARGV: the last token that is reserved, and that is used
if redis.call('MGET', KEYS[1])[1] == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') end
return 'ok'
