-- get ID: everything about a task. Returns {} or {now, {name, value...}, {{record, {name, value...}}...}},
-- the records newest first.
local id = ARGV[1]
local hash = redis.call('HGETALL', task_key(id))
if not hash[1] then
    local priority, entry = entry_of(id)
    local fields = entry and entry_at(priority, entry)
    if not fields or id_of(priority, entry, fields) ~= id then
        return {}
    end
    hash = {'state', 'queued', 'priority', priority, 'entry', entry, 'submitted_ms',
        int(entry_ms(entry))}
    add_fields(hash, fields)
end
for i = 1, #hash, 2 do
    if COUNTS[hash[i]] then
        hash[i + 1] = counted(hash[i + 1])
    end
end
local records = redis.pcall('XREVRANGE', progress_key(id), '+', '-', 'COUNT', 16)
return {int(now_ms()), hash, records.err and {} or records}
