-- KEYS: a control. ARGV: for each goal its position field and offset. Answers whether the control is marked now.
local control = KEYS[1]
if redis.call('HEXISTS', control, 'complete') == 1 then return 1 end
if redis.call('EXISTS', control) == 0 then return 0 end

-- Offsets are big endian. Bytes are compared one by one, for Lua compares strings by the server's locale.
local function is_below(offset, goal)
  for i = 1, 8 do
    local a, b = string.byte(offset, i), string.byte(goal, i)
    if a ~= b then return a < b end
  end
  return false
end

for i = 1, #ARGV, 2 do
  local position = redis.call('HGET', control, ARGV[i])
  if not position or is_below(string.sub(position, 9), ARGV[i + 1]) then return 0 end
end
redis.call('HSET', control, 'complete', '')
return 1
