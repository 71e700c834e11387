local key = ARGV[1]

local e = read(key)
if not e or e.j ~= 'd' then return {'ok'} end
must('zset', due, dead)
redis.call('ZADD', due, now, key)
outlive(due, e.k)
redis.call('ZREM', dead, key)
redis.call('HSET', entryOf(key), 'j', 'q')
redis.call('HDEL', entryOf(key), 'w', 'a')
return {'ok'}
