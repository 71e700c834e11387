local since, max = ARGV[1], tonumber(ARGV[2])

local found, more = pick(held, max, byScore(held, now - since), function(key, e)
  return e.s == 'h' and {key, e.o, e.u, e.e}
end)
return {'rows', found, more and 1 or 0}
