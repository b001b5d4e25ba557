-- KEYS: a control, then rows and ids of its version and shard. Drops what is not of the control's generation, all of
-- it where there is no control; answers how many keys went.
local generation = redis.call('HGET', KEYS[1], 'g')
local dropped = 0
for i = 2, #KEYS do
  local fields, stale = redis.call('HKEYS', KEYS[i]), {}
  for _, field in ipairs(fields) do
    if string.sub(field, -8) ~= generation then stale[#stale + 1] = field end
  end
  if #stale == #fields then
    dropped = dropped + redis.call('UNLINK', KEYS[i])
  else
    for _, field in ipairs(stale) do redis.call('HDEL', KEYS[i], field) end
  end
end
return dropped
