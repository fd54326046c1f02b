-- leave WORKER: it is no longer listed, and its consumers go where nothing is pending for them.
redis.call('HDEL', base .. 'workers', ARGV[1])
for _, priority in ipairs(PRIORITIES) do
    local pending = redis.pcall('XPENDING', stream(priority), GROUP, '-', '+', 1, ARGV[1])
    if not pending.err and not pending[1] then
        redis.call('XGROUP', 'DELCONSUMER', stream(priority), GROUP, ARGV[1])
    end
end
return 'OK'
