local key, fence, handle = ARGV[1], ARGV[2], ARGV[3]
local sealed, sealedFor, keep = ARGV[4], tonumber(ARGV[5]), now + ARGV[6]
local revocation, revokeAt = ARGV[7], now + ARGV[8]

local e = read(key)
if not e or e.f ~= fence then return {'lost'} end
if e.s == 'd' then return {'ok'} end

must('zset', held, due, epochOf(e.e))
must('string', answerOf(key), noteOf(key), jobOf(key), tokenOf(e.o), tokenOf(e.n or e.o))
redis.call('ZADD', epochOf(e.e), 0, key)
redis.call('HSET', entryOf(key), 's', 'd', 'c', handle, 'k', keep)
redis.call('HDEL', entryOf(key), 'l', 'b', 'n')
if revocation ~= '' then redis.call('HSET', entryOf(key), 'j', 'q', 'g', fence) end -- the first lease is the finisher's
if e.n and e.n ~= e.o then unpoint(e.n, key) end
redis.call('PEXPIREAT', entryOf(key), keep) -- last: if that is over, it erases the entry, and what is written then stays for ever
redis.call('DEL', noteOf(key))
if sealed ~= '' and sealedFor > 0 then
  redis.call('SET', answerOf(key), sealed, 'PXAT', math.min(now + sealedFor, keep))
end
redis.call('SET', tokenOf(e.o), key, 'PXAT', keep)
if revocation ~= '' then
  redis.call('SET', jobOf(key), revocation, 'PXAT', keep)
  redis.call('ZADD', due, revokeAt, key)
  outlive(due, keep)
  weed(due, 'j', 'q')
end
redis.call('ZREM', held, key)
outlive(epochOf(e.e), keep)
weed(epochOf(e.e), 'e', e.e)
return {'ok'}
