-- report WORKER HEALTH, then of each task ID INCARNATION CLAIM RECORD BYTES TOTAL SENT RATE STREAMS
-- INFLIGHT MAP: WORKER lives, and this is where its tasks stand. A task is refreshed only if it is
-- still held by that very claim: a worker that slept must not take back what has gone to another.
-- What is durable is told each time; with RECORD '1' it goes on record. Returns a word for each task.
local worker = ARGV[1]
local words = {}
local asks = true

local function refresh(i)
    local id, key = ARGV[i], task_key(ARGV[i])
    local have = redis.call('HMGET', key, 'state', 'incarnation', 'claim', 'priority', 'entry', 'want')
    if not have[1] then
        return 'gone'
    end
    if have[1] ~= 'active' then
        return 'lost'
    end
    if asks and (have[2] ~= ARGV[i + 1] or have[3] ~= ARGV[i + 2]) then
        return 'lost'
    end
    local priority, entry = have[4], have[5]
    local got = redis.call('XCLAIM', stream(priority), GROUP, worker, 0, entry, 'IDLE', 0)
    if not got[1] then
        -- Trimmed from the stream: from now on that set is what a silent worker is noticed by.
        redis.call('XACK', stream(priority), GROUP, entry)
        redis.call('ZADD', base .. 'trimmed', int(now_ms()), id)
    end
    local args = {'heard_ms', int(now_ms()), 'sent', ARGV[i + 6], 'rate_bps', ARGV[i + 7], 'streams',
        ARGV[i + 8], 'inflight', ARGV[i + 9], 'total', ARGV[i + 5], 'bytes', ARGV[i + 4]}
    local record, ranges = ARGV[i + 3] == '1', ARGV[i + 10]
    if record or ranges ~= '' then
        args[#args + 1], args[#args + 2] = 'map', ranges
    end
    if record then
        redis.pcall('XADD', progress_key(id), 'MAXLEN', RECORDS, '*', 'v', '1', 'claim', ARGV[i + 2],
            'worker', worker, 'ranges', ranges, 'bytes', ARGV[i + 4], 'total', ARGV[i + 5]) -- the map is what counts
    end
    redis.call('HSET', key, unpack(args))
    return have[6] and have[6] ~= '' and have[6] or 'ok'
end

for i = 3, #ARGV, 11 do
    words[#words + 1] = guarded(refresh, i)
end
redis.call('HSET', base .. 'workers', worker, 'at=' .. int(now_ms()) .. ' ' .. ARGV[2])
return words
