redis.call('SADD', closed, ARGV[1])
return {'ok'}
