local key = ARGV[1]

local e = read(key)
if not e then return {'none'} end
if e.s == 'd' then return finished(key, e) end
return {'busy', '', math.max(e.l - now, 0)}
