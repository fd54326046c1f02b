return {KEYS[1], ARGV[1], twice(tonumber(ARGV[2]))}
