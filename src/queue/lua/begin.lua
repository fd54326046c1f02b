-- begin INCARNATION WORKER, then PRIORITY ENTRY of each: tasks that a blocking XREADGROUP of WORKER
-- was given. What another has reaped in the meantime is left alone. Returns as take does.
local wrong = read_counters(ARGV[1])
if wrong then
    return wrong
end
local reply = {'0', int(now_ms())}
for i = 3, #ARGV, 2 do
    local priority, entry = ARGV[i], ARGV[i + 1]
    local pending = grouped(priority, 'XPENDING', stream(priority), GROUP, entry, entry, 1, ARGV[2])
    if pending[1] then
        -- It is ours already. A full Redis lets this write pass, and then those that follow.
        local got = redis.call('XCLAIM', stream(priority), GROUP, ARGV[2], 0, entry)
        if got[1] then
            reply[#reply + 1] = begin_or_bury(ARGV[1], ARGV[2], priority, entry, got[1][2])
        else
            bury_trimmed(priority, entry)
        end
    end
end
keep_counters()
return reply
