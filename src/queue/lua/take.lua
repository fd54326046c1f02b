-- take INCARNATION WORKER N REAP_UNTIL CLAIM_MS: up to N tasks for WORKER. First, with a REAP_UNTIL that
-- is not 0, those whose worker was not heard of for CLAIM_MS, unless the clock is past it: then this
-- command has waited in a Redis that did not run, and nobody could be heard of. Then what is due again; then by priority, and
-- one in sixteen from the lowest priority that has any, so that none starves.
-- Returns {soonest, now, task...}: ms until something may be had that is in no stream now, 0 unknown.
local wrong = read_counters(ARGV[1])
if wrong then
    return wrong
end
local incarnation, worker, n = ARGV[1], ARGV[2], num(ARGV[3])
local reap, claim_ms = now_ms() <= num(ARGV[4]), num(ARGV[5])
local reply = {'0', int(now_ms())}
local soonest = 0

local function add(task)
    if task then
        reply[#reply + 1] = task
    end
end

local function missing()
    return n - (#reply - 2)
end

local function sooner(ms)
    ms = math.max(1, ms)
    soonest = soonest == 0 and ms or math.min(soonest, ms)
end

-- How long a worker may be silent: by its own claim time, where that is longer than who asks says. It
-- reports by that.
local own = {}
local function may_be_silent(name)
    if not own[name] then
        local told = redis.pcall('HGET', base .. 'workers', name)
        told = type(told) == 'string' and string.match(told, 'claim_ms=(%d+)') or nil
        own[name] = math.max(claim_ms, num(told))
    end
    return own[name]
end

-- Only entries that have missed a report are looked at; any other cannot become free before the rest
-- of a claim time is over.
local function reap_idle(priority)
    local suspicious = math.floor(claim_ms * 0.4)
    local pending = grouped(priority, 'XPENDING', stream(priority), GROUP, 'IDLE', suspicious, '-', '+',
        100)
    sooner(claim_ms - suspicious)
    for _, p in ipairs(pending) do
        local limit = p[3] < claim_ms and claim_ms or may_be_silent(p[2])
        if p[3] < limit or missing() <= 0 then
            sooner(limit - p[3])
        else
            local got = redis.call('XCLAIM', stream(priority), GROUP, worker, limit, p[1])
            if got[1] then
                add(begin_or_bury(incarnation, worker, priority, p[1], got[1][2]))
            else
                bury_trimmed(priority, p[1])
            end
        end
    end
end

-- Tasks whose entry was trimmed while a worker had them, and whose worker is silent since.
local function reap_trimmed()
    local key = base .. 'trimmed'
    local silent = redis.call('ZRANGEBYSCORE', key, '-inf', int(now_ms() - claim_ms), 'LIMIT', 0, 100)
    for _, id in ipairs(silent) do
        local have = redis.call('HMGET', task_key(id), 'state', 'heard_ms', 'worker')
        local limit = have[3] and may_be_silent(have[3]) or claim_ms
        if have[1] ~= 'active' or num(have[2]) <= now_ms() - limit then
            if have[1] == 'active' then
                bury(id, 'INVAL', TRIMMED)
            end
            redis.call('ZREM', key, id)
        end
    end
end

local function promote_due()
    local key = base .. 'delayed'
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if not first[1] then
        return
    end
    if num(first[2]) <= now_ms() then
        local due = redis.call('ZRANGEBYSCORE', key, '-inf', int(now_ms()), 'LIMIT', 0, 100)
        for _, id in ipairs(due) do
            redis.call('ZREM', key, id)
            if redis.call('HGET', task_key(id), 'state') == 'delayed' then
                requeue(id)
            end
        end
        first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    end
    if first[1] then
        sooner(num(first[2]) - now_ms())
    end
end

-- Entries that turn out to be settled give no task, so it may take several reads to get enough.
local function read(priority, count)
    for _ = 1, 4 do
        local want = math.min(count, missing())
        if want <= 0 then
            return
        end
        local got = grouped(priority, 'XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', want, 'STREAMS',
            stream(priority), '>')
        local entries = got and got[1] and got[1][2] or {}
        for _, entry in ipairs(entries) do
            add(begin_or_bury(incarnation, worker, priority, entry[1], entry[2]))
            count = count - 1
        end
        if #entries < want then
            return
        end
    end
end

if reap then
    for _, priority in ipairs(PRIORITIES) do
        reap_idle(priority)
    end
    reap_trimmed()
    trim_done()
elseif num(ARGV[4]) > 0 then
    sooner(1) -- whether there are such is to be asked again
end
promote_due()
if missing() > 0 and math.floor((turn + n) / 16) > math.floor(turn / 16) then
    local before = #reply
    for i = #PRIORITIES, 1, -1 do
        if #reply == before then
            read(PRIORITIES[i], 1)
        end
    end
end
for _, priority in ipairs(PRIORITIES) do
    read(priority, missing())
end
keep_counters()
reply[1] = int(soonest)
return reply
