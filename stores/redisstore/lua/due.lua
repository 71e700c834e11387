-- ARGV: max, lease, max fences of 16 bytes each. A call whose answer was lost leased what it found: it comes again after that.
local max, lease, fences = tonumber(ARGV[1]), now + ARGV[2], ARGV[3]

local found, more = pick(due, max, byScore(due, now), function(key, e)
  local job = e.j == 'q' and redis.call('GET', jobOf(key))
  return job and {key, '', job, e.a + 1}
end)
for i, row in ipairs(found) do
  local key = row[1]
  row[2] = string.sub(fences, 16 * i - 15, 16 * i)
  redis.call('ZADD', due, lease, key)
  redis.call('HSET', entryOf(key), 'g', row[2], 'a', row[4])
end
return {'rows', found, more and #found == 0 and 1 or 0}
