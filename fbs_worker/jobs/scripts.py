"""State transitions of a job as Lua scripts, which Redis executes atomically.

Each script gets the same six keys (record, events, index, expiring, open, metrics), and its arguments begin with the
job's id, the TTL of finished jobs in seconds, and the attempt number as a fencing token (empty: any attempt). Times are
Redis's clock in milliseconds, so the clocks of workers and clients need not agree. The scripts read the clock and then
write, which requires effects replication: the default since Redis 5
(https://redis.io/docs/latest/develop/programmability/eval-intro/#script-replication).

A finished job never changes. A running job is changed only by its current attempt: a stale attempt gets `superseded` as
its reply. The scripts are idempotent, so that a call whose reply was lost may be repeated.
"""

from __future__ import annotations

from typing import Final

from fbs_worker.jobs.model import BUCKETS

_PRELUDE: Final = (
    """
local job, events, index, expiring, open, metrics = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, ttl, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%03d', math.floor(clock[2] / 1000))
local finished = {succeeded = true, failed = true, cancelled = true}
local bounds = {"""
    + ", ".join(map(str, BUCKETS))
    + """}

local function count(metric, by)
  redis.call('HINCRBY', metrics, metric, by)
end

local function count_seconds(metric, action, since)
  local seconds = math.max(0, (now - since) / 1000)
  local position = #bounds
  for number, bound in ipairs(bounds) do
    if seconds <= bound then
      position = number - 1
      break
    end
  end
  local name = metric .. '|' .. action .. '|'
  count(name .. position, 1)
  count(name .. 'count', 1)
  redis.call('HINCRBYFLOAT', metrics, name .. 'sum', string.format('%.3f', seconds))
end

local function emit(kind)
  local fields = redis.call('HMGET', job, 'state', 'step', 'current', 'total', 'message')
  redis.call('XADD', events, 'MAXLEN', '~', 1000, '*', 'kind', kind, 'state', fields[1], 'step', fields[2] or '',
             'current', fields[3] or '0', 'total', fields[4] or '', 'message', fields[5] or '')
end

local function enter(state, message)
  local fields = redis.call('HMGET', job, 'action', 'started_at', 'same')
  local action = fields[1] or ''
  redis.call('HSET', job, 'state', state, 'message', message)
  count('jobs|' .. action .. '|' .. state, 1)
  if finished[state] then
    redis.call('HSET', job, 'finished_at', now)
    redis.call('HDEL', job, 'stop')
    if fields[2] then count_seconds('duration', action, fields[2]) end
  end
  emit('state')
  if finished[state] then
    redis.call('EXPIRE', job, ttl)
    redis.call('EXPIRE', events, ttl)
    redis.call('ZADD', expiring, clock[1] + ttl, id)
    redis.call('SREM', open, id)
    local same = fields[3] and 'fbs:same:' .. fields[3]
    if same and redis.call('GET', same) == id then redis.call('DEL', same) end
  end
  return state
end

local function create(action, solution, domain, queue, variant)
  redis.call('HSET', job, 'action', action, 'solution', solution, 'domain', domain, 'queue', queue, 'created_at', now,
             'attempts', 0, 'variant', variant)
  redis.call('ZADD', index, now, id)
  redis.call('SADD', open, id)
  enter('queued', '')
  local expired = redis.call('ZRANGEBYSCORE', expiring, '-inf', '(' .. clock[1], 'LIMIT', 0, 100)
  if #expired > 0 then
    redis.call('ZREM', expiring, unpack(expired))
    redis.call('ZREM', index, unpack(expired))
  end
end

local function remove()
  local same = redis.call('HGET', job, 'same')
  if same and redis.call('GET', 'fbs:same:' .. same) == id then redis.call('DEL', 'fbs:same:' .. same) end
  redis.call('DEL', job, events)
  redis.call('ZREM', index, id)
  redis.call('ZREM', expiring, id)
  redis.call('SREM', open, id)
end

local function lease_status()
  local fields = redis.call('HMGET', job, 'state', 'attempts', 'stop')
  if fields[1] ~= 'running' or (attempt ~= '' and fields[2] ~= attempt) then return 'superseded' end
  return fields[3] and 'stop' or 'ours'
end
"""
)

CREATE: Final = (
    _PRELUDE
    + """
local queue, same, lost, unsent = ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])

local function is_active(owner)
  local fields = redis.call('HMGET', 'fbs:job:' .. owner, 'state', 'heartbeat_at', 'sent_at', 'created_at')
  if not fields[1] or finished[fields[1]] then return false end
  if fields[1] == 'running' then return now - fields[2] <= lost end
  return fields[1] ~= 'queued' or fields[3] or now - fields[4] <= unsent
end

if redis.call('EXISTS', job) == 1 then return id end
if same ~= '' then
  local owner = redis.call('GET', 'fbs:same:' .. same)
  if owner and is_active(owner) then return owner end
  redis.call('SET', 'fbs:same:' .. same, id)
  redis.call('HSET', job, 'same', same)
end
create(ARGV[4], ARGV[5], ARGV[6], queue, ARGV[11])
redis.call('HSET', job, 'request', ARGV[12])
for position = 13, #ARGV, 3 do
  local reply = redis.pcall(ARGV[position], ARGV[position + 1], ARGV[position + 2])
  if type(reply) == 'table' and reply.err then
    remove()
    return reply
  end
  redis.call('HSET', job, 'sent_at', now)
end
return id
"""
)
"""Create a record, unless an active job has the same deduplication key.

Arguments: action, solution, domain, queue, deduplication key (or empty), milliseconds after which a running job is lost
and after which a queued one counts as not sent, variant, the task's arguments as JSON, then the commands that send the
message (command, key, content); where one of them fails, the record is deleted again. Returns the id of the active
job."""

MARK_SENT: Final = (
    _PRELUDE
    + """
if redis.call('EXISTS', job) == 1 then redis.call('HSETNX', job, 'sent_at', now) end
"""
)
"""Record that the job's message was sent."""

REMOVE: Final = (
    _PRELUDE
    + """
remove()
"""
)
"""Delete the record of a job that was never sent."""

START: Final = (
    _PRELUDE
    + """
local worker, process, token, lost = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
if redis.call('EXISTS', job) == 0 then create(ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[15]) end
local fields = redis.call('HMGET', job, 'state', 'attempts', 'waits', 'stop', 'heartbeat_at', 'token', 'action',
                          'step', 'reached')
local attempts, waits = tonumber(fields[2]), tonumber(fields[3] or 0)
if finished[fields[1]] then return {fields[1], attempts, waits, 0} end
if fields[1] == 'running' then
  if token ~= '' and fields[6] == token then return {fields[1], attempts, waits, 0} end
  if now - fields[5] <= lost then return {fields[1], attempts, waits, 1} end
end
if fields[4] then return {enter('cancelled', 'stopped on request'), attempts, waits, 0} end
if fields[1] == 'running' then
  count('losses|' .. fields[7], 1)
  if redis.call('HINCRBY', job, 'losses', 1) >= tonumber(ARGV[12]) then
    redis.call('HSET', job, 'error', ARGV[13])
    return {enter('failed', ARGV[14]), attempts, waits, 0}
  end
end
if redis.call('HSETNX', job, 'started_at', now) == 1 then
  local created = redis.call('HGET', job, 'created_at')
  redis.call('HSET', job, 'waited', now - created)
  count_seconds('wait', fields[7], created)
end
redis.call('HSETNX', job, 'sent_at', now)
redis.call('HDEL', job, 'error')
local reached = fields[8] or ''
if reached == '' then reached = fields[9] or '' end
redis.call('HSET', job, 'heartbeat_at', now, 'worker', worker, 'process', process, 'token', token,
           'step', '', 'current', 0, 'total', '', 'reached', reached)
attempts = redis.call('HINCRBY', job, 'attempts', 1)
return {enter('running', ''), attempts, waits, 0, reached}
"""
)
"""Claim a job for a new attempt.

Arguments: action, solution, domain, queue, worker, process, token of this claim, milliseconds after which a running job
is lost, maximum number of losses, error and message if that is reached, variant. Returns the state, the attempts, how
many of them only waited, 1 if another attempt holds a valid lease, and to a new attempt the last step of an earlier
one."""

PROGRESS: Final = (
    _PRELUDE
    + """
local lease = lease_status()
if lease == 'superseded' then return lease end
redis.call('HSET', job, 'heartbeat_at', now, 'step', ARGV[5], 'current', ARGV[6], 'total', ARGV[7], 'message', ARGV[8])
emit(ARGV[4])
return lease
"""
)
"""Record progress and emit an event.

Arguments: kind, step, current, total, message. Returns the lease status."""

HEARTBEAT: Final = (
    _PRELUDE
    + """
local lease = lease_status()
if lease ~= 'superseded' then redis.call('HSET', job, 'heartbeat_at', now) end
return lease
"""
)
"""Renew the lease. Returns the lease status."""

MARK_LOST: Final = (
    _PRELUDE
    + """
local fields = redis.call('HMGET', job, 'state', 'worker', 'process')
if fields[1] ~= 'running' or fields[2] ~= ARGV[4] or fields[3] ~= ARGV[5] then return 0 end
redis.call('HSET', job, 'heartbeat_at', 0)
return 1
"""
)
"""Mark a job as lost.

Arguments: worker, process. Returns 1 if that process ran the job."""

END_ATTEMPT: Final = (
    _PRELUDE
    + """
local lease = lease_status()
if lease == 'superseded' then return redis.call('HGET', job, 'state') end
if lease == 'stop' and ARGV[4] == 'retrying' then return enter('cancelled', 'stopped on request') end
if ARGV[5] ~= '' then redis.call('HSET', job, ARGV[5], ARGV[6]) end
if tonumber(ARGV[8]) > 0 then redis.call('HINCRBY', job, 'waits', ARGV[8]) end
if tonumber(ARGV[9]) > 0 then count('rows|' .. (redis.call('HGET', job, 'action') or ''), ARGV[9]) end
local solution = redis.call('HGET', job, 'solution') or ''
if solution ~= '' and ARGV[10] ~= '' then
  if ARGV[10] == 'dropped' then
    redis.call('HDEL', metrics, 'checked|' .. solution, 'changed|' .. solution)
    for _, field in ipairs(redis.call('HKEYS', metrics)) do
      local kind, rest = field:match('^(record_%l+)|(.*)$')
      if kind and (rest == solution or rest:sub(1, #solution + 1) == solution .. '|') then
        redis.call('HDEL', metrics, field)
      end
    end
  else
    redis.call('HSET', metrics, 'checked|' .. solution, clock[1])
    if ARGV[10] == 'changed' then redis.call('HSET', metrics, 'changed|' .. solution, clock[1]) end
  end
end
for position = 11, #ARGV, 2 do redis.call('HSET', metrics, ARGV[position], ARGV[position + 1]) end
return enter(ARGV[4], ARGV[7])
"""
)
"""End an attempt in a new state.

Arguments: state, field (result, error or none), its JSON, message, 1 for an attempt that only waited, number of rows
written, freshness of the solution (checked, changed, dropped or empty), then fields of the metrics and their values.
Returns the state afterwards."""

FAIL_ORPHANED: Final = (
    _PRELUDE
    + """
local fields = redis.call('HMGET', job, 'state', 'attempts', 'heartbeat_at', 'created_at', 'sent_at')
local state, silent = fields[1], tonumber(ARGV[4])
if not state then redis.call('SREM', open, id) end
if not state or finished[state] then return 0 end
local since = math.max(tonumber(fields[3] or 0), tonumber(fields[5] or fields[4]))
if fields[2] ~= ARGV[5] or now - since <= silent then return 0 end
redis.call('HSET', job, 'error', ARGV[6])
enter('failed', ARGV[7])
return 1
"""
)
"""Fail an orphaned job.

Arguments: milliseconds without activity, the number of attempts in the record that was read, error, message. Returns 1
if the job was failed."""

REQUEST_CANCEL: Final = (
    _PRELUDE
    + """
local fields = redis.call('HMGET', job, 'state', 'heartbeat_at')
if not fields[1] or finished[fields[1]] then return fields[1] end
if fields[1] == 'running' and now - fields[2] <= tonumber(ARGV[4]) then
  redis.call('HSET', job, 'stop', 1, 'message', 'cancellation requested')
  emit('message')
  return fields[1]
end
return enter('cancelled', 'stopped on request')
"""
)
"""Request cancellation.

Argument: milliseconds after which a running job is lost. Returns the state afterwards."""
