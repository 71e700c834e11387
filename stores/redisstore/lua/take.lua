-- A bucket is one number: when it was, or will be, empty, in microseconds; what flowed in since then is in it. It is gone,
-- and so full, once it could only be full.
local bucket, n, calls, per = KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local micros = clock[1] * 1000000 + clock[2]
local empty = tonumber(redis.call('GET', bucket) or 0)
if not empty then error('STMIGRATE a budget is no number') end
empty = math.max(empty, micros - per)
local got = math.min(n, math.floor((micros - empty) * calls / per + 1e-6))
if got < 1 then return {'budget', 0, math.ceil(empty + per / calls - micros)} end
empty = empty + got * per / calls
redis.call('SET', bucket, empty, 'PXAT', math.ceil((empty + per) / 1000) + 1)
return {'budget', got, 0}
