local after, max = ARGV[1], tonumber(ARGV[2])

local found, more = pick(dead, max, byKey(dead, after), function(key, e)
  local job = e.j == 'd' and redis.call('GET', jobOf(key))
  return job and {key, job, e.a, e.w or ''}
end)
return {'rows', found, more and 1 or 0}
