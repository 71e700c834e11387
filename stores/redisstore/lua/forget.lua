local key, fence = ARGV[1], ARGV[2]

local e = read(key)
if not e or e.s ~= 'd' or e.f ~= fence then return {'ok'} end
must('zset', held, due, dead, epochOf(e.e))
must('string', answerOf(key), noteOf(key), jobOf(key), tokenOf(e.o), tokenOf(e.n or e.o))
forget(key, e)
return {'ok'}
