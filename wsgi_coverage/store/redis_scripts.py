"""The scripts in Lua that a fleet's Redis or Valkey runs, each as one atomic step.

Above each script are its keys (see the list in wsgi_coverage.store.redis), its arguments, and what
it returns. A script that adds data checks in the same step that they still count.

Concurrency: constants, and a function without state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

BATCH = 400  # entries for one call of a script, which stops the store for a millisecond
BATCH_BYTES = 256 << 10

T = TypeVar("T")


def batches(entries: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield as many entries at a time as one call of a script may have.

    Args:
        entries: the entries.
        size: returns about how many bytes an entry takes.
    """
    some: list[T] = []
    total = 0
    for entry in entries:
        some.append(entry)
        total += size(entry)
        if len(some) >= BATCH or total >= BATCH_BYTES:
            yield some
            some, total = [], 0
    if some:
        yield some


# KEYS: standing. ARGV: format, and a random id. Returns the state, after creating it if there is
# none.
FIELDS = (
    "'id', 'epoch', 'oldest', 'swept', 'pauses', 'lost', 'losses', 'departed', 'published',"
    " 'changes'"
)
JOIN = f"""
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind == 'none' then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'id', ARGV[2],
             'epoch', 0, 'oldest', 0, 'swept', 0, 'pauses', '[]',
             'lost', '', 'losses', 0, 'departed', 0, 'published', '', 'changes', 0)
elseif kind ~= 'hash' or redis.call('HGET', KEYS[1], 'format') ~= ARGV[1] then
  return redis.error_reply('FOREIGN')
end
return redis.call('HMGET', KEYS[1], {FIELDS})
"""

# KEYS: standing, hosts, sources, lines, arcs. ARGV: a host's id, its heartbeat, an epoch. Returns
# the state, the number of hosts, the numbers of the epoch's entries, and the random numbers of its
# keys. The answer has the same size for a thousand hosts as for one.
BEAT = f"""
local now = redis.call('TIME')[1]
redis.call('HSET', KEYS[2], ARGV[1], '[' .. now .. ',' .. ARGV[2] .. ']')
return {{
  redis.call('HMGET', KEYS[1], {FIELDS}), redis.call('HLEN', KEYS[2]),
  {{redis.call('HLEN', KEYS[3]), redis.call('HLEN', KEYS[4]), redis.call('SCARD', KEYS[5])}},
  redis.call('HMGET', KEYS[1], 'made:sources:' .. ARGV[3], 'made:lines:' .. ARGV[3],
             'made:arcs:' .. ARGV[3])
}}
"""

# The bytes of two strings, joined by OR.
UNION = """
local function union(long, short)
  if #long < #short then long, short = short, long end
  local out = {}
  for first = 1, #short, 128 do
    local last = math.min(first + 127, #short)
    local bytes, others = {string.byte(long, first, last)}, {string.byte(short, first, last)}
    for n = 1, #bytes do bytes[n] = bit.bor(bytes[n], others[n]) end
    out[#out + 1] = string.char(unpack(bytes))
  end
  out[#out + 1] = string.sub(long, #short + 1)
  return table.concat(out)
end
"""

# KEYS: standing, sources, lines, arcs. ARGV: id, epoch, a random number; how many sources, then key
# and content of each; how many keys of lines, then key and bits of each; arcs. Returns 0 if the
# epoch does not count any more.
ADD = f"""{UNION}
local now = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'oldest')
local epoch = tonumber(ARGV[2])
if now[1] ~= ARGV[1] or epoch > tonumber(now[2]) or epoch < tonumber(now[3]) then
  return 0
end
local function make(number, name)
  if redis.call('EXISTS', KEYS[number]) == 0 then
    redis.call('HSET', KEYS[1], 'made:' .. name .. ':' .. ARGV[2], ARGV[3])
  end
end
local at, number = 5, tonumber(ARGV[4])
if number > 0 then make(2, 'sources') end
for _ = 1, number do
  redis.call('HSETNX', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
number = tonumber(ARGV[at])
at = at + 1
if number > 0 then make(3, 'lines') end
for _ = 1, number do
  local known = redis.call('HGET', KEYS[3], ARGV[at])
  redis.call('HSET', KEYS[3], ARGV[at], known and union(known, ARGV[at + 1]) or ARGV[at + 1])
  at = at + 2
end
if at <= #ARGV then make(4, 'arcs') end
while at <= #ARGV do
  redis.call('SADD', KEYS[4], ARGV[at])
  at = at + 1
end
return 1
"""

# KEYS: sources, lines. ARGV: sources' keys. Returns the bits of each: '' if it has none, false if
# the store does not know the source.
KNOWN = """
local out = {}
for n = 1, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[n]) == 1 then
    out[n] = redis.call('HGET', KEYS[2], ARGV[n]) or ''
  else
    out[n] = false
  end
end
return out
"""

# KEYS: standing. ARGV: id, 1 if older epochs still count, the pauses that go on. Returns the epoch,
# and the id of the published report if that is withdrawn, else ''.
BEGIN = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return {-1, ''} end
local withdrawn = ''
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
if ARGV[2] ~= '1' then
  withdrawn = redis.call('HGET', KEYS[1], 'published') or ''
  redis.call('HSET', KEYS[1], 'oldest', epoch, 'lost', '', 'departed', 0, 'published', '')
  redis.call('HINCRBY', KEYS[1], 'changes', 1)
end
redis.call('HSET', KEYS[1], 'pauses', ARGV[3])
return {epoch, withdrawn}
"""

# KEYS: standing. ARGV: id, epoch. Lets only that epoch count. Returns the id of the report that is
# withdrawn, or ''; 0, without a change, if another epoch has begun since.
END = """
local now = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'published')
if now[1] == ARGV[1] and now[2] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'oldest', ARGV[2], 'lost', '', 'published', '')
  redis.call('HINCRBY', KEYS[1], 'changes', 1)
  return now[3] or ''
end
return 0
"""

# KEYS: hosts. Returns the current time, and all hosts.
HOSTS = """
return {tonumber(redis.call('TIME')[1]), redis.call('HGETALL', KEYS[1])}
"""

# KEYS: standing. ARGV: id, losses. Clears `lost`, unless more data have been lost since.
MEND = """
local now = redis.call('HMGET', KEYS[1], 'id', 'losses')
if now[1] == ARGV[1] and now[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'lost', '') end
"""

# Renames what was sent to the report's key, unless that is there: a report never changes.
KEEP = """
local function keep(report, sent, size)
  if redis.call('EXISTS', report) == 1 then
    redis.call('UNLINK', sent)
    return true
  elseif redis.call('STRLEN', sent) ~= tonumber(size) then
    return false
  end
  redis.call('RENAME', sent, report)
  redis.call('PERSIST', report)
  return true
end
"""

# KEYS: standing, the report, what was sent of it. ARGV: id, epoch, the report's id, its length, and
# the id of the report that has to be published now, or '' if any may.
# Returns the id of the report that was published before, or ''; 0 if the epoch is over, or the
# report is not there.
PUBLISH = f"""{KEEP}
local now = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'published')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2]
    or (ARGV[5] ~= '' and now[3] ~= ARGV[5]) or not keep(KEYS[2], KEYS[3], ARGV[4]) then
  redis.call('UNLINK', KEYS[3])
  return 0
end
redis.call('HSET', KEYS[1], 'published', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'changes', 1)
return now[3] or ''
"""

# KEYS: standing, the report, what was sent of it, snapshots, deleted. ARGV: id, the snapshot's id,
# its metadata, its length. Returns 0 if it is not listed, because it was deleted or is not there.
LIST = f"""{KEEP}
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] or redis.call('ZSCORE', KEYS[5], ARGV[2])
    or not keep(KEYS[2], KEYS[3], ARGV[4]) then
  redis.call('UNLINK', KEYS[3])
  return 0
end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'changes', 1)
return 1
"""

# KEYS: standing, the report, snapshots, deleted. ARGV: the snapshot's id, how many deleted ids to
# store.
DELETE = """
redis.call('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('UNLINK', KEYS[2])
redis.call('HINCRBY', KEYS[1], 'changes', 1)
"""

# KEYS: standing, the report, snapshots. ARGV: the snapshot's id. Removes a snapshot from the list
# if its content is gone, so that a host that has it sends it again.
UNLIST = """
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('HDEL', KEYS[3], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'changes', 1)
end
"""

# KEYS: deleted. ARGV: ids of snapshots. Returns those that were deleted.
WERE_DELETED = """
local out = {}
for n = 1, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[n]) then out[#out + 1] = ARGV[n] end
end
return out
"""

# KEYS: standing, days, a day, the sources of its period. ARGV: id, the day, when it is removed (in
# seconds of Unix time); then content, field and bits of each source. Returns 0 if the store has
# been emptied.
ADD_DAY = f"""{UNION}
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
local now = tonumber(redis.call('TIME')[1])
local today = math.floor(now / 86400) + 719163
local since = tonumber(redis.call('HGET', KEYS[2], 'since') or '0')
local first = since
if since == 0 then first = today + 1 end
if redis.call('EXISTS', KEYS[3]) == 0 and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  first = math.max(first, tonumber(ARGV[2]) + 1)
end
if first ~= since then redis.call('HSET', KEYS[2], 'since', first) end
for at = 4, #ARGV, 3 do
  local field, bits = ARGV[at + 1], ARGV[at + 2]
  local known = redis.call('HGET', KEYS[3], field)
  redis.call('HSET', KEYS[3], field, known and union(known, bits) or bits)
  redis.call('HSETNX', KEYS[4], string.sub(field, 1, 12), ARGV[at])
end
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
for number = 3, 4 do
  local left = redis.call('TTL', KEYS[number])
  if left < 0 or left < tonumber(ARGV[3]) - now then
    redis.call('EXPIREAT', KEYS[number], ARGV[3])
  end
end
return 1
"""

# KEYS: days. ARGV: the first day that is known from now on, unless a later one is; after tomorrow,
# tomorrow, because the host's clock may be wrong.
RAISE_SINCE = """
local tomorrow = math.floor(tonumber(redis.call('TIME')[1]) / 86400) + 719164
local first = math.min(tonumber(ARGV[1]), tomorrow)
if tonumber(redis.call('HGET', KEYS[1], 'since') or '0') < first then
  redis.call('HSET', KEYS[1], 'since', first)
end
"""

# KEYS: days, the functions of a period. ARGV: when these are removed (in seconds of Unix time); a
# source's key and the content of each.
PUT_FUNCTIONS = """
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
redis.call('HINCRBY', KEYS[1], 'functions', 1)
local left = redis.call('TTL', KEYS[2])
if left < 0 or left < tonumber(ARGV[1]) - tonumber(redis.call('TIME')[1]) then
  redis.call('EXPIREAT', KEYS[2], ARGV[1])
end
"""
