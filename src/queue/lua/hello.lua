-- hello INCARNATION WORKER: what a connection says first. INCARNATION is random and becomes the
-- queue's if this Redis is not the one that the present one was made for: it restarted, another has
-- taken over, or it has forgotten everything. WORKER is '' for a client, for whom nothing is changed.
-- Returns {incarnation, now}; '' when the queue has never had a worker.
local have = redis.call('HMGET', meta, 'version', 'incarnation', 'run_id')
if have[1] and have[1] ~= '1' then
    return redis.error_reply('LHVERSION the queue is of version ' .. have[1])
end
if ARGV[2] == '' then
    return {have[2] or '', int(now_ms())}
end

-- INFO may be forbidden: then a restart is not seen, and claims are told apart by the clock alone.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local incarnation = have[2]
if not incarnation or (run_id ~= '' and have[3] ~= run_id) then
    incarnation = ARGV[1]
    redis.call('HSET', meta, 'version', '1', 'incarnation', incarnation, 'run_id', run_id)
end

-- Workers that went long ago, and consumers that have nothing: a consumer with pending entries stays,
-- because they would go with it.
local told = redis.call('HGETALL', base .. 'workers')
for i = 1, #told, 2 do
    if num(string.match(told[i + 1], '^at=(%d+)')) < now_ms() - KEEP_WORKER_MS then
        redis.call('HDEL', base .. 'workers', told[i])
    end
end
for _, priority in ipairs(PRIORITIES) do
    for _, consumer in ipairs(grouped(priority, 'XINFO', 'CONSUMERS', stream(priority), GROUP)) do
        if pick(consumer, 'pending') == 0 and pick(consumer, 'idle') > KEEP_WORKER_MS then
            redis.call('XGROUP', 'DELCONSUMER', stream(priority), GROUP, pick(consumer, 'name'))
        end
    end
end
return {incarnation, int(now_ms())}
