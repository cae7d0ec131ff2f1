"""What Redis does in one step for `glyphq.progress`, in Lua: each script sees and changes its keys as nobody else can.

Keys are given; their names are in `glyphq.progress`, which says what each is. Times are Redis' own, in milliseconds.
"""

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

# Marks and answers the next chunks to send: not done, not out, under the job's window and under its part of its
# owner's, which is for the oldest jobs, at most as many as it has places.
_PICK = """
local function pick(done, out, open, job, chunks, window, shared, now)
  local picked = {}
  local owner = string.match(job, '^(.*)/')
  local first = '[' .. owner .. '/'
  if redis.call('ZLEXCOUNT', open, first, '(' .. job) >= shared then return picked end
  local jobs = redis.call('ZLEXCOUNT', open, first, '(' .. owner .. '0')  -- 0 comes after /
  local part = math.floor(shared / math.max(1, math.min(jobs, shared)))
  local room = math.min(window, part) - redis.call('HLEN', out)
  local chunk = redis.call('BITPOS', done, 0)
  if chunk < 0 then chunk = redis.call('STRLEN', done) * 8 end
  while room > 0 and chunk < chunks do
    if redis.call('GETBIT', done, chunk) == 0 and redis.call('HSETNX', out, chunk, 'sent:' .. now) == 1 then
      picked[#picked + 1] = chunk
      room = room - 1
    end
    chunk = chunk + 1
  end
  return picked
end
"""

CLAIM = (
    _NOW
    + """
local done, out, counts, latest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local chunk, token, lease, sent = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if sent > tonumber(redis.call('GET', latest) or '0') then redis.call('SET', latest, sent) end
if redis.call('GETBIT', done, chunk) == 1 then return {'done', 0} end
local ends, holder = string.match(redis.call('HGET', out, chunk) or '', '^held:(%d+):(.+)$')
if holder and holder ~= token and tonumber(ends) > now then return {'held', 0} end
redis.call('HSET', out, chunk, 'held:' .. (now + lease) .. ':' .. token)
redis.call('EXPIRE', out, ARGV[5])
return {'claimed', tonumber(redis.call('HGET', counts, 'deaths:' .. chunk) or '0')}
"""
)

RENEW = (
    _NOW
    + """
local ended = redis.call('HGET', KEYS[2], 'ended')
if ended then return 0 end
local holder = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^held:%d+:(.+)$')
if holder and holder ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], 'held:' .. (now + ARGV[3]) .. ':' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

RELEASE = (
    _NOW
    + """
local holder = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^held:%d+:(.+)$')
if holder == ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], 'sent:' .. now) end
return 1
"""
)

DONE = (
    _NOW
    + _PICK
    + """
local done, out, counts, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job, chunks, window, shared = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local chunk = ARGV[6]
if redis.call('HGET', counts, 'ended') then return {0, now, {}} end
redis.call('HDEL', out, chunk)
if redis.call('SETBIT', done, chunk, 1) == 0 then
  for i = 8, #ARGV, 2 do redis.call('HINCRBY', counts, ARGV[i], ARGV[i + 1]) end
  redis.call('HINCRBY', counts, 'chunks', 1)
end
local picked = pick(done, out, open, job, chunks, window, shared, now)
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[5]) end
redis.call('PUBLISH', ARGV[7], string.match(job, '[^/]+$'))
return {tonumber(redis.call('HGET', counts, 'chunks')), now, picked}
"""
)

NEXT = (
    _NOW
    + _PICK
    + """
local done, out, open = KEYS[1], KEYS[2], KEYS[3]
local job, chunks, window, shared = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local picked = pick(done, out, open, job, chunks, window, shared, now)
redis.call('EXPIRE', out, ARGV[5])
return {now, picked}
"""
)

# Takes back what is lost: leases that ran out, messages nobody will claim.
LOST = (
    _NOW
    + """
local out, counts = KEYS[1], KEYS[2]
local latest = math.min(tonumber(redis.call('GET', KEYS[3]) or '0'), now)  -- the clock may have been set back
local idle = redis.call('LLEN', KEYS[4]) == 0
local lost = {}
local entries = redis.call('HGETALL', out)
for i = 1, #entries, 2 do
  local chunk, state = entries[i], entries[i + 1]
  local sent = tonumber(string.match(state, '^sent:(%d+)$'))
  local ends = tonumber(string.match(state, '^held:(%d+):'))
  if sent and (sent + ARGV[1] < latest or (idle and sent + ARGV[2] < now)) then lost[#lost + 1] = chunk end
  if ends and ends < now then
    redis.call('HINCRBY', counts, 'deaths:' .. chunk, 1)
    lost[#lost + 1] = chunk
  end
end
for _, chunk in ipairs(lost) do redis.call('HSET', out, chunk, 'sent:' .. now) end
for i = 1, 2 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return {now, lost}
"""
)

REBUILD = """
local done, out, counts = KEYS[1], KEYS[2], KEYS[3]
redis.call('DEL', done)
redis.call('HDEL', counts, 'ended')
local chunks = 2 + 2 * ARGV[2]  -- before them, ARGV[2] pairs of what is counted and how many
for i = 3, chunks, 2 do redis.call('HSET', counts, ARGV[i], ARGV[i + 1]) end
for i = chunks + 1, #ARGV do
  redis.call('SETBIT', done, ARGV[i], 1)
  redis.call('HDEL', out, ARGV[i])
end
redis.call('HSET', counts, 'chunks', #ARGV - chunks)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[1]) end
return 1
"""

# Start-time fair queueing: a turn is counted in images. An owner's jobs follow each other by as many as they have, and
# who comes anew is no further behind than what is now answered; so none waits for more than a part of a flood.
_WAIT = """
local function wait(waiting, turns, member)
  if redis.call('ZCARD', waiting) == 0 then redis.call('DEL', turns) end
  local owner, images = string.match(member, '^(.*)/[^/]+/(%d+)$')
  local next, present = unpack(redis.call('HMGET', turns, owner, '/now'))
  local turn = math.max(tonumber(next or 0), tonumber(present or 0))
  if redis.call('ZADD', waiting, 'NX', turn, member) == 1 then redis.call('HSET', turns, owner, turn + images) end
end
"""

PUSH = (
    _WAIT
    + """
for i = 2, #ARGV do wait(KEYS[1], KEYS[2], ARGV[i]) end
return redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[1]) and 1 or 0
"""
)

POP = (
    _NOW
    + """
local waiting, turns, leased, deaths, flag = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
redis.call('DEL', flag)
local room, taken = tonumber(ARGV[1]), {}
while room > 0 do
  local member, turn = unpack(redis.call('ZPOPMIN', waiting))
  if not member then break end
  redis.call('HSET', turns, '/now', turn)
  redis.call('ZADD', leased, now + ARGV[2], member)
  taken[#taken + 1] = {member, tonumber(redis.call('HGET', deaths, member) or '0')}
  room = room - tonumber(string.match(member, '(%d+)$'))
end
return taken
"""
)

# Gives back what a dead drain had leased; answers whether a drain must be sent.
RECOVER = (
    _NOW
    + _WAIT
    + """
local waiting, turns, leased, deaths, flag = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
for _, member in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', now)) do
  redis.call('HINCRBY', deaths, member, 1)
  redis.call('ZREM', leased, member)
  wait(waiting, turns, member)
end
if redis.call('ZCARD', waiting) == 0 then return 0 end
return redis.call('SET', flag, '1', 'NX', 'PX', ARGV[1]) and 1 or 0
"""
)

LOCK = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

PUBLISH_EPOCH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
"""
