-- finish WORKER, then of each task ID INCARNATION CLAIM OUTCOME DUE_MS FAILURES ERROR_STATUS ERROR
-- BYTES TOTAL SENT ACTIVE_MS DIGEST HAS_MAP MAP: ends claims. Of a task that is not held by that very
-- claim any more nothing is changed. Returns 'ok', 'lost' or 'gone' for each.
local words = {}

-- Put back or tried again at its time; what somebody asked for meanwhile comes first.
local function again(id, want, due_ms)
    if want == 'paused' or want == 'cancelled' then
        settle(id, want)
    elseif due_ms == 0 then
        requeue(id)
    else
        local due = int(now_ms() + due_ms)
        redis.call('HSET', task_key(id), 'state', 'delayed', 'due_ms', due)
        redis.call('ZADD', base .. 'delayed', due, id)
    end
end

local function finish(i)
    local id, key, outcome = ARGV[i], task_key(ARGV[i]), ARGV[i + 3]
    local have = redis.call('HMGET', key, 'state', 'incarnation', 'claim', 'priority', 'entry', 'want',
        'attempts', 'map')
    if not have[1] then
        return 'gone'
    end
    if have[1] ~= 'active' or have[2] ~= ARGV[i + 1] or have[3] ~= ARGV[i + 2] then
        return 'lost'
    end
    acknowledge(have[4], have[5])
    redis.call('ZREM', base .. 'active', id)
    local args = {'entry', '', 'want', '', 'rate_bps', '0', 'streams', '0', 'inflight', '', 'bytes',
        ARGV[i + 8], 'total', ARGV[i + 9], 'sent', ARGV[i + 10], 'active_ms', ARGV[i + 11]}
    local function set(name, value)
        args[#args + 1], args[#args + 2] = name, value
    end
    if ARGV[i + 13] == '1' and outcome ~= 'done' then
        set('map', ARGV[i + 14])
    end
    if outcome == 'deferred' then
        set('attempts', int(math.max(0, num(have[7]) - 1)))
    else
        set('error_status', ARGV[i + 6])
        set('error', ARGV[i + 7])
    end
    if outcome == 'retry' or outcome == 'dead' then
        set('failures', ARGV[i + 5])
    elseif outcome == 'done' then
        set('state', 'done')
        set('digest', ARGV[i + 12])
        set('map', '')
        set('ended_ms', int(now_ms()))
    end
    redis.call('HSET', key, unpack(args))
    if outcome == 'done' then
        if have[8] and have[8] ~= '' then
            redis.call('DEL', progress_key(id)) -- it has no more to tell
        end
        remember(id, 'done', ARGV[i + 8], ARGV[i + 10], ARGV[i + 11], ARGV[1])
    elseif outcome == 'dead' and have[6] == 'cancelled' then
        settle(id, 'cancelled')
    elseif outcome == 'dead' then
        bury(id, ARGV[i + 6], ARGV[i + 7])
    elseif outcome == 'retry' or outcome == 'deferred' then
        again(id, have[6], num(ARGV[i + 4]))
    elseif outcome == 'paused' and have[6] ~= 'paused' then
        again(id, have[6], 0) -- somebody has thought better of it
    else
        settle(id, outcome)
    end
    return 'ok'
end

for i = 2, #ARGV, 15 do
    words[#words + 1] = guarded(finish, i)
end
-- Now and then, so that a queue of small tasks does not fill Redis between two reaps.
if #words > 0 and num(ARGV[4]) % 32 < #words then
    trim_done()
end
return words
