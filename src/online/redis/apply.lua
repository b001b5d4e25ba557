-- KEYS: the control of each advance, then the row of each part, then the ids of each part that brings some.
-- ARGV: how many advances; 'confirm' or ''; for each advance its position field, position before and position after;
-- how many parts; for each part the number of its advance, what it brings ('h' head, 'b' body, 'i' ids), its expiry in
-- milliseconds ('' for never; after a '=' where the part's last write had the same), its name, and the bytes of what it
-- brings. Answers 1, or what is stored for each advance.
local call = redis.call
local advances, confirm = tonumber(ARGV[1]), ARGV[2] == 'confirm'
-- By the number of the advance as text, which parts name it by.
local generations = {}
local stored = {}
local stands, done = true, true
for i = 1, advances do
  local field, before, after = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local found = call('HMGET', KEYS[i], 'g', field)
  generations[tostring(i)], stored[i] = found[1], found[2]
  stands = stands and stored[i] == before
  done = done and stored[i] == after
end
if not stands then
  -- WAIT counts the replicas that have the connection's last write: a call that was done on another connection
  -- needs one here, for there would be nothing to wait for.
  if done and confirm then
    for i = 1, advances do call('HSET', KEYS[i], ARGV[3 * i], stored[i]) end
  end
  return stored
end

local HOUR, DAY = 3600000, 86400000
local now = tonumber(call('TIME')[1]) * 1000

-- What would expire within the hour is written behind time: a worker that catches up with an old log. The clock must
-- not take it from under the records still to come, so it stays for a day after its last write. Else what is as it was
-- at the last write is settled. Parts share few expiries, so each is looked at once.
local instants, settled = {}, {}
local function look(expiry)
  local same = string.sub(expiry, 1, 1) == '='
  local instant = same and string.sub(expiry, 2) or expiry
  settled[expiry] = same
  if instant ~= '' and tonumber(instant) < now + HOUR then
    instant = tostring(now + DAY)
    settled[expiry] = false
  end
  instants[expiry] = instant
end

-- An expiry only grows. For GT a key without one never expires, and so does a new key: hence the two cases.
local function keep(key, expiry, added)
  if added == 0 and settled[expiry] then return end
  local instant = instants[expiry]
  if instant == '' then
    call('PERSIST', key)
  elseif added > 0 and call('HLEN', key) == added then
    call('PEXPIREAT', key, instant)
  else
    call('PEXPIREAT', key, instant, 'GT')
  end
end

local at = 3 * advances + 3
local rows = tonumber(ARGV[at])
local ids = advances + rows
at = at + 1
for row = advances + 1, advances + rows do
  local key, brings, expiry = KEYS[row], ARGV[at + 1], ARGV[at + 2]
  if instants[expiry] == nil then look(expiry) end
  local part = ARGV[at + 3] .. generations[ARGV[at]]
  if brings == 'h' or brings == 'hi' then
    keep(key, expiry, call('HSET', key, 'h' .. part, ARGV[at + 4]))
    at = at + 5
  else
    keep(key, expiry, call('HSET', key, 'h' .. part, ARGV[at + 4], 'b' .. part, ARGV[at + 5]))
    at = at + 6
  end
  if brings == 'hi' or brings == 'hbi' then
    ids = ids + 1
    keep(KEYS[ids], expiry, call('HSET', KEYS[ids], 'i' .. part, ARGV[at]))
    at = at + 1
  end
end
for i = 1, advances do call('HSET', KEYS[i], ARGV[3 * i], ARGV[3 * i + 2]) end
return 1
