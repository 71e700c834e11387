local epoch, after, max = ARGV[1], ARGV[2], tonumber(ARGV[3])

local found, more = pick(epochOf(epoch), max, byKey(epochOf(epoch), after), function(key, e)
  return e.s == 'd' and e.e == epoch and {key, e.f, e.c}
end)
return {'rows', found, more and 1 or 0}
