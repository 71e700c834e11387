local key = ARGV[1]

local e = read(key)
if not e or e.j ~= 'd' then return {'ok'} end
must('zset', dead)
must('string', jobOf(key))
redis.call('DEL', jobOf(key))
redis.call('ZREM', dead, key)
redis.call('HDEL', entryOf(key), 'j', 'w', 'a')
return {'ok'}
