-- Stands in front of every script. KEYS[1] is longhaul:{QUEUE}:meta, which routes the script in a
-- cluster; all other keys are made from it and live in the same slot. docs/queue.md has the keys.
--
-- Each script changes a task as a whole or not at all: what can fail is read before anything is
-- written. The clock is Redis's own, so that nobody else's has to be right.
local meta = KEYS[1]
local base = string.sub(meta, 1, -5)
local GROUP = 'workers'
local PRIORITIES = {'high', 'normal', 'low'}
local LETTER = {high = 'h', normal = 'n', low = 'l'}
local PRIORITY = {h = 'high', n = 'normal', l = 'low'}
local LIVE = {queued = true, active = true, delayed = true, paused = true}
local KEEP_MS = 7 * 86400 * 1000 -- of tasks that have ended
local KEEP_DONE = 10000          -- of them at most
local KEEP_WORKER_MS = 3600 * 1000
local RECORDS = 16               -- kept of each progress stream, of 16 KiB at most
local MAX_FIELDS = 64            -- of an entry; more is malformed
local MAX_ENTRY = 65536          -- bytes of names and values; more is malformed
local TRIMMED = 'its entry was trimmed from the stream'

local clock = nil
local function now_us()
    if not clock then
        local t = redis.call('TIME')
        clock = t[1] * 1000000 + t[2]
    end
    return clock
end

local function now_ms()
    return math.floor(now_us() / 1000)
end

local function int(x)
    return string.format('%.0f', x)
end

local function num(text)
    return tonumber(text or 0) or 0
end

-- What a task's hash says of a number; '0' where somebody has put something else there.
local function counted(text)
    local n = tonumber(text)
    return n and n >= 0 and n < 2 ^ 63 and int(math.floor(n)) or '0'
end

local COUNTS = {claim = true, attempts = true, failures = true, submitted_ms = true, taken_ms = true,
    heard_ms = true, ended_ms = true, due_ms = true, total = true, bytes = true, sent = true,
    active_ms = true, rate_bps = true, streams = true}

local function stream(priority)
    return base .. 'tasks:' .. priority
end

local function task_key(id)
    return base .. 'task:' .. id
end

local function progress_key(id)
    return base .. 'progress:' .. id
end

local function valid_id(id)
    return id and #id <= 64 and string.find(id, '^[A-Za-z0-9._-]+$') ~= nil
end

-- Names and values stand one after the other in what Redis gives.
local function pick(fields, name)
    for i = 1, #fields, 2 do
        if fields[i] == name then
            return fields[i + 1]
        end
    end
end

local function id_of(priority, entry, fields)
    local id = pick(fields, 'task')
    return valid_id(id) and id or LETTER[priority] .. entry
end

-- "n1700000000000-0" names the entry of a task that has no `task` field.
local function entry_of(id)
    local letter, entry = string.match(id, '^([hnl])(%d+%-%d+)$')
    if letter then
        return PRIORITY[letter], entry
    end
end

local function entry_ms(entry)
    return num(string.match(entry, '^%d+'))
end

-- A command on a consumer group, which is made when somebody has removed it.
local function grouped(priority, ...)
    local reply = redis.pcall(...)
    if type(reply) == 'table' and reply.err then
        if not string.find(reply.err, 'NOGROUP') and not string.find(reply.err, 'no such key') then
            return redis.call(...) -- fails in the same way, aloud
        end
        redis.call('XGROUP', 'CREATE', stream(priority), GROUP, '0', 'MKSTREAM')
        reply = redis.call(...)
    end
    return reply
end

-- A task whose key is not what it should be is unknown: 'gone'. That must not keep the others of the
-- same call from being looked after. Anything else that fails is not the task's fault.
local function told_as(fault)
    return type(fault) == 'table' and fault.err or tostring(fault)
end

local function guarded(fn, i)
    local fine, word = pcall(fn, i)
    if not fine and not string.find(told_as(word), 'WRONGTYPE', 1, true) then
        error(word, 0)
    end
    word = fine and word or 'gone'
    if word == 'gone' then
        redis.pcall('ZREM', base .. 'active', ARGV[i])
    end
    return word
end

local function entry_at(priority, entry)
    local found = redis.call('XRANGE', stream(priority), entry, entry)
    return found[1] and found[1][2]
end

local function acknowledge(priority, entry)
    redis.call('XACK', stream(priority), GROUP, entry)
    redis.call('XDEL', stream(priority), entry)
end

-- Why an entry is too big to be kept, or nil.
local function too_big(fields)
    if #fields > 2 * MAX_FIELDS then
        return 'it has more than ' .. MAX_FIELDS .. ' fields'
    end
    local bytes = 0
    for i = 1, #fields do
        bytes = bytes + #fields[i]
    end
    return bytes > MAX_ENTRY and 'its fields are longer than 64 KiB' or nil
end

-- The original fields, as they go into the task's hash.
local function add_fields(to, fields)
    if too_big(fields) then
        return
    end
    for i = 1, #fields, 2 do
        to[#to + 1] = 'f:' .. fields[i]
        to[#to + 1] = fields[i + 1]
    end
end

-- Everything that is known of a task.
local function forget(id)
    redis.call('DEL', task_key(id), progress_key(id))
    redis.call('ZREM', base .. 'dead', id)
end

-- The last done and cancelled ones, for whoever asks; the oldest go with what is known of them.
local function remember(id, state, bytes, sent, active_ms, worker)
    redis.pcall('XADD', base .. 'done', '*', 'task', id, 'state', state, 'bytes', bytes, 'sent', sent,
        'active_ms', active_ms, 'worker', worker) -- not worth failing for
    redis.call('PEXPIRE', task_key(id), KEEP_MS)
    if state == 'cancelled' then
        redis.call('PEXPIRE', progress_key(id), KEEP_MS)
    end
end

local function trim_done()
    local surplus = redis.call('XLEN', base .. 'done') - KEEP_DONE
    if surplus <= 0 then
        return
    end
    local oldest = redis.call('XRANGE', base .. 'done', '-', '+', 'COUNT', math.min(surplus, 256))
    for _, old in ipairs(oldest) do
        local id = pick(old[2], 'task')
        local state = redis.call('HGET', task_key(id), 'state')
        if state == 'done' or state == 'cancelled' then
            forget(id)
        end
        redis.call('XDEL', base .. 'done', old[1])
    end
end

-- A task that is in no stream and with no worker any more becomes paused or cancelled.
local function settle(id, state)
    redis.call('HSET', task_key(id), 'state', state, 'want', '', 'entry', '', 'rate_bps', '0',
        'streams', '0', 'inflight', '', 'due_ms', '0', 'ended_ms',
        state == 'paused' and '0' or int(now_ms()))
    redis.call('ZREM', base .. 'active', id)
    if state == 'paused' then
        redis.call('SADD', base .. 'paused', id)
    else
        remember(id, state, '0', '0', '0', '')
    end
end

local function bury(id, status, reason)
    redis.call('HSET', task_key(id), 'state', 'dead', 'want', '', 'entry', '', 'error_status',
        status, 'error', reason, 'rate_bps', '0', 'streams', '0', 'inflight', '', 'ended_ms',
        int(now_ms()))
    redis.call('ZREM', base .. 'active', id)
    redis.call('ZADD', base .. 'dead', int(now_ms()), id)
end

-- Put a task that is not in a stream back at the end of its own. Its old claim ends with that. Returns
-- its state: dead where the stream takes nothing more (somebody has used its last id).
local function requeue(id, more)
    local key = task_key(id)
    local hash = redis.call('HGETALL', key)
    local priority = pick(hash, 'priority') or 'normal'
    local args = {'task', id}
    for i = 1, #hash, 2 do
        if string.sub(hash[i], 1, 2) == 'f:' and hash[i] ~= 'f:task' then
            args[#args + 1] = string.sub(hash[i], 3)
            args[#args + 1] = hash[i + 1]
        end
    end
    local entry = redis.pcall('XADD', stream(priority), '*', unpack(args))
    if type(entry) == 'table' then
        bury(id, 'INVAL', 'its stream takes no entries: ' .. entry.err)
        return 'dead'
    end
    redis.call('HSET', key, 'state', 'queued', 'want', '', 'entry', entry, 'due_ms', '0',
        'ended_ms', '0', unpack(more or {}))
    return 'queued'
end

-- ---- giving out tasks ----

-- Claims are numbered upwards and never fall behind the clock: a Redis that lost its last moments
-- gives no number out twice.
local last_claim, turn, claimed = 0, 0, false

-- Called first: the counters, or an error reply for a worker that means another incarnation.
local function read_counters(incarnation)
    local have = redis.call('HMGET', meta, 'incarnation', 'claims', 'turn')
    if have[1] ~= incarnation then
        return redis.error_reply('LHINCARNATION say hello again')
    end
    last_claim, turn = num(have[2]), num(have[3])
end

-- Called at the end.
local function keep_counters()
    if claimed then
        redis.call('HSET', meta, 'claims', int(last_claim), 'turn', int(turn))
    end
end

local function next_claim()
    last_claim = math.max(last_claim + 1, now_us())
    turn = turn + 1
    claimed = true
    return int(last_claim)
end

-- The names that had a task, without repeats in a row, the last 16.
local function add_worker(names, worker)
    local list = {}
    for name in string.gmatch(names or '', '[^,]+') do
        list[#list + 1] = name
    end
    if list[#list] ~= worker then
        list[#list + 1] = worker
    end
    return table.concat(list, ',', math.max(1, #list - 15))
end

-- What an entry that comes up means: true to begin its task, false when that was settled here.
local function wanted(id, have, priority, entry)
    if not have.state then
        return true
    end
    if have.entry ~= entry or have.priority ~= priority then
        if LIVE[have.state] then -- a second entry for a task that has not ended
            acknowledge(priority, entry)
            return false
        end
        forget(id) -- one that has ended is ordered anew
        for name in pairs(have) do
            have[name] = nil
        end
    elseif have.want == 'paused' or have.want == 'cancelled' then
        acknowledge(priority, entry)
        settle(id, have.want)
        return false
    end
    return true
end

local BEGIN = {'state', 'priority', 'entry', 'want', 'attempts', 'failures', 'bytes', 'total',
    'workers', 'submitted_ms'}

-- Give the task of an entry, which is pending for `worker`, to that worker. Returns what it is told,
-- or nil when there is nothing to do.
local function begin(incarnation, worker, priority, entry, fields)
    local id = id_of(priority, entry, fields)
    local key = task_key(id)
    local values = redis.call('HMGET', key, unpack(BEGIN))
    local have = {}
    for i, name in ipairs(BEGIN) do
        have[name] = values[i] or nil
    end
    if not wanted(id, have, priority, entry) then
        return nil
    end
    local reaped = have.state == 'active' and '1' or '0'
    local claim = next_claim()
    local attempts = int(counted(have.attempts) + 1)
    local args = {'state', 'active', 'want', '', 'priority', priority, 'entry', entry, 'claim', claim,
        'incarnation', incarnation, 'worker', worker, 'workers', add_worker(have.workers, worker),
        'attempts', attempts, 'taken_ms', int(now_ms()), 'heard_ms', int(now_ms()), 'sent', '0',
        'rate_bps', '0', 'streams', '0', 'inflight', '', 'submitted_ms',
        have.submitted_ms or int(entry_ms(entry))}
    if not have.state then
        add_fields(args, fields)
    end
    redis.call('HSET', key, unpack(args))
    redis.call('ZADD', base .. 'active', int(now_ms()), id)
    local problem = too_big(fields)
    return {id, claim, priority, attempts, counted(have.failures), counted(have.bytes), counted(have.total),
        reaped, problem or '', problem and {} or fields}
end

-- begin(), and when even that fails, because a key of the task is not what it should be, the entry
-- goes to the dead letters under a name of its own: it must not stop the queue.
local function begin_or_bury(incarnation, worker, priority, entry, fields)
    local fine, told = pcall(begin, incarnation, worker, priority, entry, fields)
    if fine then
        return told
    end
    if not string.find(told_as(told), 'WRONGTYPE', 1, true) then
        error(told, 0)
    end
    local id = 'broken-' .. LETTER[priority] .. entry
    acknowledge(priority, entry)
    redis.call('HSET', task_key(id), 'priority', priority, 'submitted_ms', int(entry_ms(entry)))
    bury(id, 'INVAL', 'its keys in Redis are damaged: ' .. told_as(told))
    return nil
end

-- A pending entry that is no longer in the stream: its task is found among the active ones.
local function bury_trimmed(priority, entry)
    redis.call('XACK', stream(priority), GROUP, entry)
    for _, id in ipairs(redis.call('ZRANGE', base .. 'active', 0, -1)) do
        local have = redis.call('HMGET', task_key(id), 'priority', 'entry')
        if have[1] == priority and have[2] == entry then
            return bury(id, 'INVAL', TRIMMED)
        end
    end
    local id = LETTER[priority] .. entry
    if redis.call('EXISTS', task_key(id)) == 0 then
        redis.call('HSET', task_key(id), 'priority', priority, 'submitted_ms', int(entry_ms(entry)))
        bury(id, 'INVAL', TRIMMED)
    end
end
