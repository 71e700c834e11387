local key, shown, user, epoch, fence = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, keep = now + ARGV[6], now + ARGV[7]

local e = read(key)
if e then keep = math.max(keep, e.k) end
local mine = e and e.s == 'h' and e.f == fence
if epoch ~= '' and not mine and redis.call('SISMEMBER', closed, epoch) == 1 then return {'closed'} end
local before
if mine then
  before = e.b
elseif e then
  if e.s == 'd' then return finished(key, e) end
  if e.l > now then return {'busy', '', e.l - now} end
  before = e.u
end

must('zset', held, due, dead)
must('string', answerOf(key), noteOf(key), jobOf(key), tokenOf(e and e.n or shown))
redis.call('ZADD', held, lease, key) -- first, since it is what a full server refuses
local note
if e then
  note = redis.call('GET', noteOf(key))
else
  redis.call('DEL', entryOf(key), answerOf(key), noteOf(key), jobOf(key))
  redis.call('ZREM', due, key)
  redis.call('ZREM', dead, key)
end
redis.call('HSET', entryOf(key), 's', 'h', 'f', fence, 'o', shown, 'u', user, 'e', epoch, 'l', lease, 'k', keep)
if before then redis.call('HSET', entryOf(key), 'b', before) end
redis.call('PEXPIREAT', entryOf(key), keep)
if note then
  redis.call('PEXPIREAT', noteOf(key), keep)
  redis.call('SET', tokenOf(e.n), key, 'PXAT', keep)
end
outlive(held, keep)
weed(held, 's', 'h')
return {'held', before and 1 or 0, before or '', note or ''}
