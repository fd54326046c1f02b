-- control VERB ID: pause, resume, cancel, retry or drop. Returns {effect, state}; docs/queue.md has the
-- table of what is possible when.
local verb, id = ARGV[1], ARGV[2]
local key = task_key(id)
-- A full Redis lets this write pass, and then those that follow: they make room, or take hardly any.
redis.call('DEL', base .. 'none')
local have = redis.call('HMGET', key, 'state', 'priority', 'entry', 'want')
local state, priority, entry, want = have[1], have[2], have[3], have[4] or ''

-- An entry that nobody has taken yet, put there by XADD: it becomes known now.
if not state then
    priority, entry = entry_of(id)
    local fields = entry and entry_at(priority, entry)
    if not fields or id_of(priority, entry, fields) ~= id then
        return {'unknown', ''}
    end
    state = 'queued'
    local args = {'state', 'queued', 'priority', priority, 'entry', entry, 'submitted_ms',
        int(entry_ms(entry))}
    add_fields(args, fields)
    redis.call('HSET', key, unpack(args))
end

-- Take it out of wherever it waits.
local function take_out()
    if state == 'queued' then
        acknowledge(priority, entry)
    elseif state == 'delayed' then
        redis.call('ZREM', base .. 'delayed', id)
    elseif state == 'paused' then
        redis.call('SREM', base .. 'paused', id)
    elseif state == 'dead' then
        redis.call('ZREM', base .. 'dead', id)
    end
end

local function ask(what)
    if want == what then
        return {'already', state}
    end
    redis.call('HSET', key, 'want', what)
    return {what == '' and 'ok' or 'asked', state}
end

local function queue_again(more)
    take_out()
    redis.call('PERSIST', key)
    redis.call('PERSIST', progress_key(id))
    local now = requeue(id, more)
    return {now == 'queued' and 'ok' or 'refused', now}
end

local verbs = {}

function verbs.pause()
    if state == 'active' then
        return want == 'cancelled' and {'refused', state} or ask('paused')
    elseif state == 'paused' then
        return {'already', state}
    elseif state ~= 'queued' and state ~= 'delayed' then
        return {'refused', state}
    end
    take_out()
    settle(id, 'paused')
    return {'ok', 'paused'}
end

function verbs.resume()
    if state == 'paused' then
        return queue_again()
    elseif state == 'active' and want == 'paused' then
        return ask('')
    end
    return {LIVE[state] and 'already' or 'refused', state}
end

function verbs.cancel()
    if state == 'active' then
        return ask('cancelled')
    elseif state == 'cancelled' then
        return {'already', state}
    elseif state == 'done' then
        return {'refused', state}
    end
    take_out()
    settle(id, 'cancelled')
    return {'ok', 'cancelled'}
end

function verbs.retry()
    if state == 'dead' or state == 'cancelled' then
        return queue_again({'failures', '0', 'attempts', '0', 'error', '', 'error_status', ''})
    elseif state == 'delayed' then
        return queue_again()
    elseif state == 'queued' and not entry_at(priority, entry) then
        return queue_again() -- its entry was trimmed before anybody took it
    end
    return {LIVE[state] and state ~= 'paused' and 'already' or 'refused', state}
end

function verbs.drop()
    if LIVE[state] then
        return {'refused', state}
    end
    take_out()
    forget(id)
    return {'ok', state}
end

return verbs[verb]()
