-- list STATE AFTER COUNT: tasks in a state. AFTER is '' or what the list before ended with.
-- Returns {now, next, {id, name, value...}...}; next is '' when there are no more.
local state, after, count = ARGV[1], ARGV[2], num(ARGV[3])
local NAMES = {'state', 'want', 'priority', 'f:source', 'f:destination', 'worker', 'claim', 'attempts',
    'failures', 'submitted_ms', 'taken_ms', 'heard_ms', 'ended_ms', 'due_ms', 'total', 'bytes', 'sent',
    'active_ms', 'rate_bps', 'streams', 'error', 'error_status', 'digest'}
local reply = {int(now_ms()), ''}

local function add(id, otherwise)
    local values = redis.pcall('HMGET', task_key(id), unpack(NAMES))
    if values.err or (not values[1] and not otherwise) then
        return -- damaged: the others are listed all the same
    end
    local row = {id}
    if not values[1] then
        for _, value in ipairs(otherwise) do
            row[#row + 1] = value
        end
    end
    for i, name in ipairs(NAMES) do
        if values[i] then
            row[#row + 1], row[#row + 2] = name, COUNTS[name] and counted(values[i]) or values[i]
        end
    end
    reply[#reply + 1] = row
end

local function room()
    return count - (#reply - 2)
end

local function list_queued()
    local first_priority, from = string.match(after, '^(%a+):(%d+%-%d+)$')
    local skip = first_priority ~= nil
    local last = ''
    for _, priority in ipairs(PRIORITIES) do
        if priority == first_priority then
            skip = false
        end
        if not skip then
            local start = priority == first_priority and from or nil
            if not start then
                local groups = redis.pcall('XINFO', 'GROUPS', stream(priority))
                for _, group in ipairs(groups.err and {} or groups) do
                    if pick(group, 'name') == GROUP then
                        start = pick(group, 'last-delivered-id')
                    end
                end
            end
            local entries = redis.call('XRANGE', stream(priority), start and '(' .. start or '-', '+',
                'COUNT', room() + 1)
            for _, entry in ipairs(entries) do
                if room() <= 0 then
                    reply[2] = last
                    return
                end
                local otherwise = {'state', 'queued', 'priority', priority, 'submitted_ms',
                    int(entry_ms(entry[1]))}
                for _, name in ipairs({'source', 'destination'}) do
                    otherwise[#otherwise + 1] = 'f:' .. name
                    otherwise[#otherwise + 1] = string.sub(pick(entry[2], name) or '', 1, 16384)
                end
                add(id_of(priority, entry[1], entry[2]), otherwise)
                last = priority .. ':' .. entry[1]
            end
        end
    end
end

-- Sorted sets are paged by place: what moves meanwhile may be met twice or not at all.
local function list_ranked(command, key)
    local from = num(after)
    local ids = redis.call(command, key, from, from + count)
    for i = 1, math.min(count, #ids) do
        add(ids[i])
    end
    reply[2] = #ids > count and int(from + count) or ''
end

local function list_done()
    local entries = redis.call('XREVRANGE', base .. 'done', after == '' and '+' or '(' .. after, '-',
        'COUNT', count + 1)
    for i = 1, math.min(count, #entries) do
        add(pick(entries[i][2], 'task'))
    end
    reply[2] = #entries > count and entries[count][1] or ''
end

local function list_paused()
    local ids = redis.call('SMEMBERS', base .. 'paused')
    table.sort(ids)
    for i, id in ipairs(ids) do
        if id > after and room() > 0 then
            add(id)
            reply[2] = i < #ids and id or ''
        end
    end
    if room() > 0 then
        reply[2] = ''
    end
end

if state == 'queued' then
    list_queued()
elseif state == 'active' then
    list_ranked('ZRANGE', base .. 'active')
elseif state == 'delayed' then
    list_ranked('ZRANGE', base .. 'delayed')
elseif state == 'dead' then
    list_ranked('ZREVRANGE', base .. 'dead')
elseif state == 'paused' then
    list_paused()
else
    list_done()
end
return reply
