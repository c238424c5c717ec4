"""What `odoo_gate` does in Redis, as Lua that Redis runs in one go; the clock is Redis's own, in milliseconds.

Each script is given the same keys: the leases (a sorted set: their ids by the time at which they expire), the list that
wakes one who waits, the breaker (a hash) and the figures (a hash); and begins its arguments with the lease's id and the
milliseconds that a lease lasts. All but the figures expire by themselves.

The breaker's fields: `failures` in a row while it is closed; `until` and `pause` while it is open; `probe`, the lease
of the one call that was let through after `until`. A probe whose lease is gone has not answered: the next call takes
its place.
"""

from __future__ import annotations

from typing import Final

_PRELUDE: Final = """
local leases, free, breaker, figures = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, lasts = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

TAKE: Final = (
    _PRELUDE
    + """
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
local seen = redis.call('HMGET', breaker, 'until', 'probe')
local open = tonumber(seen[1])
if open then
  if now < open then return {'resting', open - now} end
  if seen[2] and seen[2] ~= lease and redis.call('ZSCORE', leases, seen[2]) then
    return {'resting', math.floor(lasts / 3)}
  end
end
if not redis.call('ZSCORE', leases, lease) and redis.call('ZCARD', leases) >= tonumber(ARGV[3]) then
  return {'full', 0}
end
redis.call('ZADD', leases, now + lasts, lease)
redis.call('PEXPIRE', leases, lasts)
if open then redis.call('HSET', breaker, 'probe', lease) end
return {'taken', 0}
"""
)
"""most leases → taken, full, or resting with the milliseconds that are left of it. Asked twice, it answers the same."""

RENEW: Final = (
    _PRELUDE
    + """
if not redis.call('ZSCORE', leases, lease) then return 0 end
redis.call('ZADD', leases, now + lasts, lease)
redis.call('PEXPIRE', leases, lasts)
return 1
"""
)
"""→ 1, or 0 where the lease is gone."""

GIVE_BACK: Final = (
    _PRELUDE
    + """
local verdict, server = ARGV[3], ARGV[4]
local most_calls, most_failures = tonumber(ARGV[5]), tonumber(ARGV[6])
local first_pause, longest_pause = tonumber(ARGV[7]), tonumber(ARGV[8])
if redis.call('ZREM', leases, lease) == 0 then return {'', 0} end
redis.call('LPUSH', free, 1)
redis.call('LTRIM', free, 0, most_calls - 1)
redis.call('PEXPIRE', free, lasts)
redis.call('HINCRBY', figures, 'calls|' .. server, 1)
if verdict == 'failed' then redis.call('HINCRBY', figures, 'call_failures|' .. server, 1) end

local function rest(pause)
  redis.call('HSET', breaker, 'until', now + pause, 'pause', pause)
  redis.call('HDEL', breaker, 'failures', 'probe')
  redis.call('PEXPIRE', breaker, 2 * longest_pause)
  return {'opened', pause}
end

local seen = redis.call('HMGET', breaker, 'until', 'pause', 'probe')
if seen[1] then
  if seen[3] ~= lease then return {'', 0} end
  if verdict == 'failed' then return rest(math.min(2 * tonumber(seen[2]), longest_pause)) end
  if verdict == 'answered' then
    redis.call('DEL', breaker)
    return {'closed', 0}
  end
elseif verdict == 'answered' then
  redis.call('DEL', breaker)
elseif verdict == 'failed' then
  if redis.call('HINCRBY', breaker, 'failures', 1) >= most_failures then return rest(first_pause) end
  redis.call('PEXPIRE', breaker, 2 * longest_pause)
end
return {'', 0}
"""
)
"""verdict, server, most calls, most failures, first and longest pause → whether the breaker opened (and for how many
milliseconds) or closed. A call that began before the breaker opened no longer has a say."""
