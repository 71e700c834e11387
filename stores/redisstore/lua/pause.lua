local bucket, d = KEYS[2], tonumber(ARGV[1])

local micros = clock[1] * 1000000 + clock[2]
local empty = tonumber(redis.call('GET', bucket) or 0)
if not empty then error('STMIGRATE a budget is no number') end
empty = math.max(empty, micros + d)
-- How fast it will fill is not known here: 31 days is the longest that takes.
redis.call('SET', bucket, empty, 'PXAT', math.ceil(empty / 1000) + 31 * 24 * 3600 * 1000)
return {'ok'}
