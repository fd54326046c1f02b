-- submit PRIORITY, then NAME VALUE of each field: a new task. Returns {id}, or {} when there is one of
-- that id which has not ended.
local fields = {}
for i = 2, #ARGV do
    fields[i - 1] = ARGV[i]
end
local priority = ARGV[1]
local problem = too_big(fields)
if problem then
    return redis.error_reply('LHINVAL ' .. problem)
end
local id = pick(fields, 'task')
if id and not valid_id(id) then
    return redis.error_reply('LHINVAL an id is of 1 to 64 letters, digits, dots, dashes, underscores')
end
if id and LIVE[redis.call('HGET', task_key(id), 'state') or ''] then
    return {}
end
local entry = redis.call('XADD', stream(priority), '*', unpack(fields))
if id then
    forget(id)
else
    id = LETTER[priority] .. entry
end
local args = {'state', 'queued', 'priority', priority, 'entry', entry, 'submitted_ms',
    int(entry_ms(entry))}
add_fields(args, fields)
redis.call('HSET', task_key(id), unpack(args))
return {id}
