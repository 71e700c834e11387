local key, fence, suspect = ARGV[1], ARGV[2], ARGV[3] == '1'

local e = read(key)
if not e or e.s ~= 'h' or e.f ~= fence then return {'ok'} end
must('zset', held, due, dead)
if suspect then
  redis.call('ZADD', held, now, key)
  redis.call('HSET', entryOf(key), 'l', now, 'b', e.u)
else
  must('zset', epochOf(e.e))
  must('string', answerOf(key), noteOf(key), jobOf(key), tokenOf(e.o), tokenOf(e.n or e.o))
  forget(key, e)
end
return {'ok'}
