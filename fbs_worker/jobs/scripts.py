"""The transitions of a job, as Lua that Redis runs in one go: nobody ever sees, or acts on, half of one.

Each script is given the same six keys (record, events, index, index of those that will expire, those that have not
ended, figures) and begins its arguments with the job's id, the seconds that a finished job is kept, and the number of
the attempt that speaks (empty: whoever). Times are Redis's own clock in milliseconds, so the clocks of workers and
clients need not agree. The scripts read the clock and then write, which wants the replication of effects: the default
since Redis 5 (https://redis.io/docs/latest/develop/programmability/eval-intro/#script-replication).

A job that has finished never changes again. A running job is changed only by the attempt that runs it now: a worker
that was thought dead and taken over from is told so with its next word. A script whose answer was lost on its way may
be sent again: what it did is not done twice.
"""

from __future__ import annotations

from typing import Final

from fbs_worker.jobs.model import BUCKETS

_PRELUDE: Final = (
    """
local job, events, index, ending, open, figures = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, ttl, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%03d', math.floor(clock[2] / 1000))
local finished = {succeeded = true, failed = true, cancelled = true}
local bounds = {"""
    + ", ".join(map(str, BUCKETS))
    + """}

local function count(figure, by)
  redis.call('HINCRBY', figures, figure, by)
end

local function count_seconds(figure, action, since)
  local seconds = math.max(0, (now - since) / 1000)
  local place = #bounds
  for number, bound in ipairs(bounds) do
    if seconds <= bound then
      place = number - 1
      break
    end
  end
  local name = figure .. '|' .. action .. '|'
  count(name .. place, 1)
  count(name .. 'count', 1)
  redis.call('HINCRBYFLOAT', figures, name .. 'sum', string.format('%.3f', seconds))
end

local function tell(kind)
  local seen = redis.call('HMGET', job, 'state', 'step', 'current', 'total', 'message')
  redis.call('XADD', events, 'MAXLEN', '~', 1000, '*', 'kind', kind, 'state', seen[1], 'step', seen[2] or '',
             'current', seen[3] or '0', 'total', seen[4] or '', 'message', seen[5] or '')
end

local function enter(state, message)
  local seen = redis.call('HMGET', job, 'action', 'started_at', 'same')
  local action = seen[1] or ''
  redis.call('HSET', job, 'state', state, 'message', message)
  count('changes', 1)
  count('jobs|' .. action .. '|' .. state, 1)
  if finished[state] then
    redis.call('HSET', job, 'finished_at', now)
    redis.call('HDEL', job, 'stop')
    if seen[2] then count_seconds('duration', action, seen[2]) end
  end
  tell('state')
  if finished[state] then
    redis.call('EXPIRE', job, ttl)
    redis.call('EXPIRE', events, ttl)
    redis.call('ZADD', ending, clock[1] + ttl, id)
    redis.call('SREM', open, id)
    local same = seen[3] and 'fbs:same:' .. seen[3]
    if same and redis.call('GET', same) == id then redis.call('DEL', same) end
  end
  return state
end

local function make(action, solution, domain, queue)
  redis.call('HSET', job, 'action', action, 'solution', solution, 'domain', domain, 'queue', queue, 'created_at', now,
             'attempts', 0)
  redis.call('ZADD', index, now, id)
  redis.call('SADD', open, id)
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
)

CREATE: Final = (
    _PRELUDE
    + """
local queue, same, lost, unsent = ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])

local function stands_for_it(holder)
  local seen = redis.call('HMGET', 'fbs:job:' .. holder, 'state', 'heartbeat_at', 'sent_at', 'created_at')
  if not seen[1] or finished[seen[1]] then return false end
  if seen[1] == 'running' then return now - seen[2] <= lost end
  return seen[1] ~= 'queued' or seen[3] or now - seen[4] <= unsent
end

if redis.call('EXISTS', job) == 1 then return id end
if same ~= '' then
  local holder = redis.call('GET', 'fbs:same:' .. same)
  if holder and stands_for_it(holder) then return holder end
  redis.call('SET', 'fbs:same:' .. same, id)
  redis.call('HSET', job, 'same', same)
end
make(ARGV[4], ARGV[5], ARGV[6], queue)
for place = 11, #ARGV, 3 do
  redis.call(ARGV[place], ARGV[place + 1], ARGV[place + 2])
  redis.call('HSET', job, 'sent_at', now)
end
return id
"""
)
"""action, solution, domain, queue, what it is the same as (or nothing), milliseconds after which a running job is lost
and a queued one was not sent, then what sends its message, if that is to be done here: command, key, content → the id
of the job that stands for this: another's, if that is the same and has not ended."""

MARK_SENT: Final = (
    _PRELUDE
    + """
if redis.call('EXISTS', job) == 1 then redis.call('HSETNX', job, 'sent_at', now) end
"""
)
"""The job's message has been sent."""

REMOVE: Final = (
    _PRELUDE
    + """
local same = redis.call('HGET', job, 'same')
if same and redis.call('GET', 'fbs:same:' .. same) == id then redis.call('DEL', 'fbs:same:' .. same) end
redis.call('DEL', job, events)
count('changes', 1)
redis.call('ZREM', index, id)
redis.call('ZREM', ending, id)
redis.call('SREM', open, id)
"""
)
"""Nothing is left of the record of a job that was never sent."""

START: Final = (
    _PRELUDE
    + """
local worker, process, token, lost = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
if redis.call('EXISTS', job) == 0 then make(ARGV[4], ARGV[5], ARGV[6], ARGV[7]) end
local seen = redis.call('HMGET', job, 'state', 'attempts', 'waits', 'stop', 'heartbeat_at', 'token', 'action')
local attempts, waits = tonumber(seen[2]), tonumber(seen[3] or 0)
if finished[seen[1]] then return {seen[1], attempts, waits, 0} end
if seen[1] == 'running' then
  if token ~= '' and seen[6] == token then return {seen[1], attempts, waits, 0} end
  if now - seen[5] <= lost then return {seen[1], attempts, waits, 1} end
end
if seen[4] then return {enter('cancelled', 'stopped on request'), attempts, waits, 0} end
if seen[1] == 'running' then
  count('losses|' .. seen[7], 1)
  if redis.call('HINCRBY', job, 'losses', 1) >= tonumber(ARGV[12]) then
    redis.call('HSET', job, 'error', ARGV[13])
    return {enter('failed', ARGV[14]), attempts, waits, 0}
  end
end
if redis.call('HSETNX', job, 'started_at', now) == 1 then
  local created = redis.call('HGET', job, 'created_at')
  redis.call('HSET', job, 'waited', now - created)
  count_seconds('wait', seen[7], created)
end
redis.call('HSETNX', job, 'sent_at', now)
redis.call('HDEL', job, 'error')
redis.call('HSET', job, 'heartbeat_at', now, 'worker', worker, 'process', process, 'token', token,
           'step', '', 'current', 0, 'total', '')
attempts = redis.call('HINCRBY', job, 'attempts', 1)
return {enter('running', ''), attempts, waits, 0}
"""
)
"""action, solution, domain, queue, worker, process, token of this claim, milliseconds after which a running job is
lost, most losses, error and message for one loss too many → state, attempts, how many of them only waited, and whether
another attempt holds the job and is alive."""

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

MARK_LOST: Final = (
    _PRELUDE
    + """
local seen = redis.call('HMGET', job, 'state', 'worker', 'process')
if seen[1] ~= 'running' or seen[2] ~= ARGV[4] or seen[3] ~= ARGV[5] then return 0 end
redis.call('HSET', job, 'heartbeat_at', 0)
count('changes', 1)
return 1
"""
)
"""worker, process → 1 if that process was running the job, which is lost now."""

END_ATTEMPT: Final = (
    _PRELUDE
    + """
local stands = standing()
if stands == 'superseded' then return redis.call('HGET', job, 'state') end
if stands == 'stop' and ARGV[4] == 'retrying' then return enter('cancelled', 'stopped on request') end
if ARGV[5] ~= '' then redis.call('HSET', job, ARGV[5], ARGV[6]) end
if tonumber(ARGV[8]) > 0 then redis.call('HINCRBY', job, 'waits', ARGV[8]) end
if tonumber(ARGV[9]) > 0 then count('rows|' .. (redis.call('HGET', job, 'action') or ''), ARGV[9]) end
return enter(ARGV[4], ARGV[7])
"""
)
"""state, field (result, error or none), its JSON, message, 1 for an attempt that only waited, rows that were written →
the state that the job is in afterwards."""

FAIL_ORPHANED: Final = (
    _PRELUDE
    + """
local seen = redis.call('HMGET', job, 'state', 'attempts', 'heartbeat_at', 'created_at', 'sent_at')
local state, silent = seen[1], tonumber(ARGV[4])
if not state then redis.call('SREM', open, id) end
if not state or finished[state] then return 0 end
local since = math.max(tonumber(seen[3] or 0), tonumber(seen[5] or seen[4]))
if seen[2] ~= ARGV[5] or now - since <= silent then return 0 end
redis.call('HSET', job, 'error', ARGV[6])
enter('failed', ARGV[7])
return 1
"""
)
"""milliseconds without a sign of life, the attempts that were seen, error, message → 1 if the job has failed so."""

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
