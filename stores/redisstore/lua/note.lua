local key, fence, note = ARGV[1], ARGV[2], ARGV[3]

local e = read(key)
if not e or e.s ~= 'h' or e.f ~= fence then return {'lost'} end
must('string', noteOf(key), tokenOf(e.o), tokenOf(e.n or e.o))
redis.call('SET', noteOf(key), note, 'PXAT', e.k)
redis.call('HSET', entryOf(key), 'n', e.o)
if e.n and e.n ~= e.o then unpoint(e.n, key) end
redis.call('SET', tokenOf(e.o), key, 'PXAT', e.k)
return {'ok'}
