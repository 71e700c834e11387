local key, fence, retry, reason = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local e = read(key)
if not e then return {'lost'} end
if e.y == fence then return {'ok'} end
if e.j ~= 'q' or e.g ~= fence then return {'lost'} end

must('zset', due, dead)
must('string', jobOf(key))
if retry > 0 then
  redis.call('ZADD', due, now + retry, key)
  if reason == '' then redis.call('HSET', entryOf(key), 'a', math.max(e.a - 1, 0)) end -- it was put back untried
elseif reason ~= '' then
  redis.call('ZADD', dead, 0, key)
  redis.call('ZREM', due, key)
  redis.call('HSET', entryOf(key), 'j', 'd', 'w', reason)
  outlive(dead, e.k)
  weed(dead, 'j', 'd')
else
  redis.call('DEL', jobOf(key)) -- first: a full server lets that pass, and all that follows it
  redis.call('ZREM', due, key)
  redis.call('HDEL', entryOf(key), 'j', 'a')
end
redis.call('HSET', entryOf(key), 'y', fence)
redis.call('HDEL', entryOf(key), 'g')
return {'ok'}
