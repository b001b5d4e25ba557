-- KEYS: the control of each advance, then the row of each part, then the ids of each part that brings some.
-- ARGV: how many advances; 'confirm' or ''; for each advance its position field, position before and position after;
-- for each part the number of its advance, what it brings ('h' head, 'b' body, 'i' ids), its expiry in milliseconds
-- ('' for never), its name, and the bytes of what it brings. Answers 1, or what is stored for each advance.
local advances, confirm = tonumber(ARGV[1]), ARGV[2] == 'confirm'
local stored, generations = {}, {}
local stands, done = true, true
for i = 1, advances do
  local field, before, after = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local found = redis.call('HMGET', KEYS[i], 'g', field)
  generations[i], stored[i] = found[1], found[2]
  stands = stands and stored[i] == before
  done = done and stored[i] == after
end
if not stands then
  -- WAIT counts the replicas that have the connection's last write: a call that was done on another connection
  -- needs one here, for there would be nothing to wait for.
  if done and confirm then
    for i = 1, advances do redis.call('HSET', KEYS[i], ARGV[3 * i], stored[i]) end
  end
  return stored
end

local HOUR, DAY = 3600000, 86400000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000

-- What would expire within the hour is written behind time: a worker that catches up with an old log. The clock must
-- not take it from under the records still to come, so it stays for a day after its last write.
local function until_when(expiry)
  if expiry == '' then return nil end
  if tonumber(expiry) < now + HOUR then return tostring(now + DAY) end
  return expiry
end

-- An expiry only grows. For GT a key without one never expires, and so does a new key: hence the two cases.
local function keep(key, expiry, added)
  if not expiry then
    redis.call('PERSIST', key)
  elseif added > 0 and redis.call('HLEN', key) == added then
    redis.call('PEXPIREAT', key, expiry)
  else
    redis.call('PEXPIREAT', key, expiry, 'GT')
  end
end

local at, row, ids = 3 * advances + 3, advances, 0
local rows = tonumber(ARGV[at])
ids = advances + rows
at = at + 1
for _ = 1, rows do
  local generation, brings, expiry = generations[tonumber(ARGV[at])], ARGV[at + 1], until_when(ARGV[at + 2])
  local part = ARGV[at + 3] .. generation
  row = row + 1
  local added
  if string.find(brings, 'b', 1, true) then
    added = redis.call('HSET', KEYS[row], 'h' .. part, ARGV[at + 4], 'b' .. part, ARGV[at + 5])
    at = at + 6
  else
    added = redis.call('HSET', KEYS[row], 'h' .. part, ARGV[at + 4])
    at = at + 5
  end
  keep(KEYS[row], expiry, added)
  if string.find(brings, 'i', 1, true) then
    ids = ids + 1
    keep(KEYS[ids], expiry, redis.call('HSET', KEYS[ids], 'i' .. part, ARGV[at]))
    at = at + 1
  end
end
for i = 1, advances do redis.call('HSET', KEYS[i], ARGV[3 * i], ARGV[3 * i + 2]) end
return 1
