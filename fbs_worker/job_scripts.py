"""The transitions of a job, as Lua that Redis runs in one go: nobody ever sees, or acts on, half of one.

Each script is given the same four keys (record, events, index, index of those that will expire) and begins its
arguments with the job's id, the seconds that a finished job is kept, and the number of the attempt that speaks (empty:
whoever). Times are Redis's own clock in milliseconds, so the clocks of workers and clients need not agree. The scripts
read the clock and then write, which wants the replication of effects: the default since Redis 5
(https://redis.io/docs/latest/develop/programmability/eval-intro/#script-replication).

A job that has finished never changes again. A running job is changed only by the attempt that runs it now: a worker
that was thought dead and taken over from is told so with its next word.
"""

from __future__ import annotations

from typing import Final

_PRELUDE: Final = """
local job, events, index, ending = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, ttl, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%03d', math.floor(clock[2] / 1000))
local finished = {succeeded = true, failed = true, cancelled = true}

local function tell(kind)
  local seen = redis.call('HMGET', job, 'state', 'step', 'current', 'total', 'message')
  redis.call('XADD', events, 'MAXLEN', '~', 1000, '*', 'kind', kind, 'state', seen[1], 'step', seen[2] or '',
             'current', seen[3] or '0', 'total', seen[4] or '', 'message', seen[5] or '')
end

local function enter(state, message)
  redis.call('HSET', job, 'state', state, 'message', message)
  if finished[state] then
    redis.call('HSET', job, 'finished_at', now)
    redis.call('HDEL', job, 'stop')
  end
  tell('state')
  if finished[state] then
    redis.call('EXPIRE', job, ttl)
    redis.call('EXPIRE', events, ttl)
    redis.call('ZADD', ending, clock[1] + ttl, id)
  end
  return state
end

local function make(action, solution, domain)
  redis.call('HSET', job, 'action', action, 'solution', solution, 'domain', domain, 'created_at', now, 'attempts', 0)
  redis.call('ZADD', index, now, id)
  enter('queued', '')
  local gone = redis.call('ZRANGEBYSCORE', ending, '-inf', '(' .. clock[1], 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', ending, unpack(gone))
    redis.call('ZREM', index, unpack(gone))
  end
end

local function standing()
  local seen = redis.call('HMGET', job, 'state', 'attempts', 'stop')
  if seen[1] ~= 'running' or (attempt ~= '' and seen[2] ~= attempt) then return 'superseded' end
  return seen[3] and 'stop' or 'ours'
end
"""

CREATE: Final = (
    _PRELUDE
    + """
if redis.call('EXISTS', job) == 1 then return 0 end
make(ARGV[4], ARGV[5], ARGV[6])
return 1
"""
)
"""action, solution, domain → 1, or 0 where there is a job of that id already."""

START: Final = (
    _PRELUDE
    + """
if redis.call('EXISTS', job) == 0 then make(ARGV[4], ARGV[5], ARGV[6]) end
local seen = redis.call('HMGET', job, 'state', 'attempts', 'stop')
if finished[seen[1]] then return {seen[1], tonumber(seen[2])} end
if seen[3] then return {enter('cancelled', 'stopped on request'), tonumber(seen[2])} end
if seen[1] == 'running' then
  if redis.call('HINCRBY', job, 'losses', 1) >= tonumber(ARGV[7]) then
    redis.call('HSET', job, 'error', ARGV[8])
    return {enter('failed', ARGV[9]), tonumber(seen[2])}
  end
end
redis.call('HSETNX', job, 'started_at', now)
redis.call('HDEL', job, 'error')
redis.call('HSET', job, 'heartbeat_at', now, 'step', '', 'current', 0, 'total', '')
local attempts = redis.call('HINCRBY', job, 'attempts', 1)
return {enter('running', ''), attempts}
"""
)
"""action, solution, domain, most losses, error and message for one loss too many → state, attempts."""

PROGRESS: Final = (
    _PRELUDE
    + """
local stands = standing()
if stands == 'superseded' then return stands end
redis.call('HSET', job, 'heartbeat_at', now, 'step', ARGV[5], 'current', ARGV[6], 'total', ARGV[7], 'message', ARGV[8])
tell(ARGV[4])
return stands
"""
)
"""kind, step, current, total, message → how the attempt stands."""

HEARTBEAT: Final = (
    _PRELUDE
    + """
local stands = standing()
if stands ~= 'superseded' then redis.call('HSET', job, 'heartbeat_at', now) end
return stands
"""
)
"""→ how the attempt stands."""

LEAVE: Final = (
    _PRELUDE
    + """
local stands = standing()
if stands == 'superseded' then return redis.call('HGET', job, 'state') end
if stands == 'stop' and ARGV[4] == 'retrying' then return enter('cancelled', 'stopped on request') end
if ARGV[5] ~= '' then redis.call('HSET', job, ARGV[5], ARGV[6]) end
return enter(ARGV[4], ARGV[7])
"""
)
"""state, field (result, error or none), its JSON, message → the state that the job is in afterwards."""

REQUEST_CANCEL: Final = (
    _PRELUDE
    + """
local seen = redis.call('HMGET', job, 'state', 'heartbeat_at')
if not seen[1] or finished[seen[1]] then return seen[1] end
if seen[1] == 'running' and now - seen[2] <= tonumber(ARGV[4]) then
  redis.call('HSET', job, 'stop', 1, 'message', 'asked to stop')
  tell('message')
  return seen[1]
end
return enter('cancelled', 'stopped on request')
"""
)
"""milliseconds after which a running job is lost → the state that the job is in afterwards."""
