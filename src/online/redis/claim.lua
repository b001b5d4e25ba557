-- KEYS: the control of each claim. ARGV: nonce, a new generation, then for each claim its position field and initial
-- offset. Answers the offset of each claim.
local nonce, generation = ARGV[1], ARGV[2]
local offsets = {}
for i, control in ipairs(KEYS) do
  local field, initial = ARGV[2 * i + 1], ARGV[2 * i + 2]
  redis.call('HSETNX', control, 'g', generation)
  local position = redis.call('HGET', control, field)
  offsets[i] = position and string.sub(position, 9) or initial
  redis.call('HSET', control, field, nonce .. offsets[i])
end
return offsets
