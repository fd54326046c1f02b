-- In front of each script.
local function twice(n)
    return 2 * n
end
