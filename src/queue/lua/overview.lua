-- overview: depth, workers and their health, what was done of late. Returns {now, incarnation, active,
-- delayed, paused, dead, recent_ms, recent_tasks, recent_bytes, {queued, oldest_ms} of each priority,
-- {worker, health...}}.
local RECENT_MS = 60000
local reply = {int(now_ms()), redis.call('HGET', meta, 'incarnation') or '',
    redis.call('ZCARD', base .. 'active'), redis.call('ZCARD', base .. 'delayed'),
    redis.call('SCARD', base .. 'paused'), redis.call('ZCARD', base .. 'dead')}

local recent = redis.call('XREVRANGE', base .. 'done', '+', int(now_ms() - RECENT_MS), 'COUNT', 1000)
local tasks, bytes, since = 0, 0, now_ms() - RECENT_MS
if #recent == 1000 then
    since = entry_ms(recent[1000][1])
end
for _, entry in ipairs(recent) do
    if pick(entry[2], 'state') == 'done' then
        tasks = tasks + 1
        bytes = bytes + num(pick(entry[2], 'bytes'))
    end
end
reply[7], reply[8], reply[9] = int(math.max(1, now_ms() - since)), int(tasks), int(bytes)

for _, priority in ipairs(PRIORITIES) do
    local queued = redis.call('XLEN', stream(priority))
    local last = nil
    local groups = redis.pcall('XINFO', 'GROUPS', stream(priority))
    for _, group in ipairs(groups.err and {} or groups) do
        if pick(group, 'name') == GROUP then
            queued = queued - pick(group, 'pending')
            last = pick(group, 'last-delivered-id')
        end
    end
    local first = queued > 0 and
        redis.call('XRANGE', stream(priority), last and '(' .. last or '-', '+', 'COUNT', 1)[1]
    reply[#reply + 1] = {int(math.max(0, queued)),
        first and int(math.max(0, now_ms() - entry_ms(first[1]))) or '0'}
end
reply[#reply + 1] = redis.call('HGETALL', base .. 'workers')
return reply
