if redis.call('SET', KEYS[1], '1', 'NX') then return '1' end
return redis.call('GET', KEYS[1])
