-- Stands before every script. Everything is under one prefix, so in one slot; KEYS names what can be named beforehand. An
-- entry is a hash:
--   n  the token of its note (h)
--   s  "h" held, "d" done    f  fence             o  the token shown        u  user
--   e  epoch                 k  end of KeepFor    l  end of the lease (h)   b  user of the suspect holder (h)
--   c  handle (d)            j  "q" owed, "d" given up: the revocation      a  times it was handed out
--   g  fence of its lease    y  fence of the lease that was settled last    w  why it was given up
-- Times are milliseconds since 1970 on this server's clock; a double holds them exactly.

if redis.call('GET', KEYS[1]) ~= '1' then
  return {'format', redis.call('GET', KEYS[1])}
end

local root = string.sub(KEYS[1], 1, -#'format' - 1)
local held, due, dead, closed = root .. 'held', root .. 'due', root .. 'dead', root .. 'closed'

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function entryOf(key) return root .. 'e:' .. key end
local function answerOf(key) return root .. 'a:' .. key end
local function noteOf(key) return root .. 'n:' .. key end
local function jobOf(key) return root .. 'r:' .. key end
local function tokenOf(shown) return root .. 's:' .. shown end
local function epochOf(epoch) return root .. 'x:' .. epoch end

local known = {n = 1, s = 1, f = 1, o = 1, u = 1, e = 1, k = 1, l = 1, b = 1, c = 1, j = 1, a = 1, g = 1, y = 1, w = 1}

-- read returns the entry, or nil if there is none or its time is over. What this version did not write is an error.
local function read(key)
  local flat = redis.call('HGETALL', entryOf(key))
  if #flat == 0 then return nil end
  local e = {}
  for i = 1, #flat, 2 do
    if not known[flat[i]] then error('STMIGRATE an entry has an unknown field') end
    e[flat[i]] = flat[i + 1]
  end
  e.k, e.l, e.a = tonumber(e.k), tonumber(e.l), tonumber(e.a or 0)
  if not (e.k and e.a and e.f and e.o and e.u and e.e and #e.f == 16 and #e.o == 32
      and ((e.s == 'h' and e.l) or (e.s == 'd' and e.c))) then
    error('STMIGRATE an entry is incomplete')
  end
  if e.k <= now then return nil end
  return e
end

-- must fails on a key of another type, before anything is written.
local function must(kind, ...)
  for _, name in ipairs({...}) do
    local is = redis.call('TYPE', name).ok
    if is ~= 'none' and is ~= kind then
      error('STMIGRATE WRONGTYPE a key is a ' .. is .. ', want a ' .. kind)
    end
  end
end

-- outlive lets an index live at least until the time.
local function outlive(index, time)
  if redis.call('PTTL', index) < time - now then redis.call('PEXPIREAT', index, time) end
end

-- weed looks at two members of an index and drops those whose entry is gone or says otherwise. It runs after a member was added
-- and its entry written, so an index stays below twice what it indexes.
local function weed(index, field, want)
  local some = redis.call('ZRANDMEMBER', index, 2)
  for _, key in ipairs(some) do
    if redis.call('HGET', entryOf(key), field) ~= want then redis.call('ZREM', index, key) end
  end
end

-- unpoint takes the way from the token to the entry away, unless it leads to another one by now.
local function unpoint(shown, key)
  if redis.call('GET', tokenOf(shown)) == key then redis.call('DEL', tokenOf(shown)) end
end

-- forget erases all that belongs to an entry; e is nil where it may have left something behind.
local function forget(key, e)
  redis.call('DEL', entryOf(key), answerOf(key), noteOf(key), jobOf(key))
  redis.call('ZREM', held, key)
  redis.call('ZREM', due, key)
  redis.call('ZREM', dead, key)
  if e then
    unpoint(e.o, key)
    if e.n then unpoint(e.n, key) end
    redis.call('ZREM', epochOf(e.e), key)
  end
end

-- pick reads entries off an index: page(offset, count) gives keys, row(key, e) what is returned of one, or nil if it does not
-- belong there. At most max rows; what does not belong is dropped, at most some 1,000 a call: more says that the limit was hit.
local function pick(index, max, page, row)
  local found, stale, looked = {}, {}, 0
  repeat
    local keys = page(looked, max - #found)
    for _, key in ipairs(keys) do
      local e = read(key)
      local r = e and row(key, e)
      if r then found[#found + 1] = r else stale[#stale + 1] = key end
    end
    looked = looked + #keys
  until #keys == 0 or #found == max or #stale >= 1000
  for _, key in ipairs(stale) do redis.call('ZREM', index, key) end
  return found, #found < max and #stale >= 1000
end

local function byScore(index, last)
  return function(offset, count)
    return redis.call('ZRANGEBYSCORE', index, '-inf', last, 'LIMIT', offset, count)
  end
end

local function byKey(index, after)
  return function(offset, count)
    return redis.call('ZRANGEBYLEX', index, '(' .. after, '+', 'LIMIT', offset, count)
  end
end

local function finished(key, e)
  return {'done', e.u, e.c, redis.call('GET', answerOf(key)) or ''}
end
