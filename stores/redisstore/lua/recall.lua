local shown = ARGV[1]

local key = redis.call('GET', tokenOf(shown))
local e = key and read(key)
if not e then return {'none'} end
if e.s == 'd' then return e.o == shown and finished(key, e) or {'none'} end
if e.n ~= shown then return {'none'} end
local note = redis.call('GET', noteOf(key))
if not note then return {'none'} end
return {'busy', note, math.max(e.l - now, 0)}
