"""Probes: small tasks sent through a queue to check that a worker consumes it.

A probe is not a job: it has no record, no result and no events. Its reply is an entry of the Redis list
`fbs:probe:<id>`, which expires. An undelivered probe is withdrawn, so that probes do not pile up in a queue without
workers.

A single worker is probed through a queue that only this worker consumes, over the same connection as its jobs. Celery's
`worker_direct` has such queues, too, but their bindings stay in Redis: a set that grows with every worker that ever
started (kombu, `Channel._queue_bind`). This queue has no exchange and so no binding; its messages expire, and RabbitMQ
deletes it with its only consumer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from kombu.entity import Exchange, Queue

from fbs_worker.core import redis as queue
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.queues import Queues

PROBE_TASK: Final = "fbs.probe"

_TTL_SECONDS: Final = 60
_POLL_SECONDS: Final = 1.0
_PREFIX: Final = "fbs:probe:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReply:
    """The reply to a probe.

    Attributes:
        worker: the name of the worker that replied.
        seconds: time from sending the probes to the reply.
    """

    worker: str
    seconds: float


def worker_queue(worker: str) -> Any:
    """Return the queue that only one worker consumes.

    Args:
        worker: the worker's name, `NAME@host`.
    """
    name = f"fbs.worker.{worker}"
    no_exchange = Exchange("")  # type: ignore[no-untyped-call]  # Kombu has half its types
    return Queue(  # type: ignore[no-untyped-call]
        name, no_exchange, routing_key=name, durable=False, auto_delete=True, expires=_TTL_SECONDS
    )


def send_reply(settings: Settings, probe_id: str, worker: str) -> None:
    """Reply to a probe, from the task of the probe.

    Args:
        settings: the settings of the worker.
        probe_id: the task's id.
        worker: the worker's name.

    Raises:
        QueueUnreachable: Redis does not answer.
    """
    with queue.connect(settings.fbs_redis_url) as client, client.pipeline() as pipe:
        pipe.rpush(_key(probe_id), worker)
        pipe.expire(_key(probe_id), _TTL_SECONDS)
        pipe.execute()


def probe(app: FBSCelery, targets: Iterable[Any], *, seconds: float) -> dict[str, ProbeReply]:
    """Send a probe to each of several queues and wait for the replies.

    Args:
        app: the application; its task-sent events are switched off, so that probes do not show among jobs.
        targets: kombu queues.
        seconds: how long to wait for all replies together.

    Returns:
        The replies by the queue's name; a queue without a reply is missing.

    Raises:
        QueueUnreachable: Redis or the broker does not answer.
    """
    app.conf.task_send_sent_event = False
    with queue.connect(app.settings.fbs_redis_url) as client, Queues(app) as queues:
        began = time.monotonic()
        pending = {_send(app, target, seconds=seconds): target.name for target in targets}
        replies: dict[str, ProbeReply] = {}
        try:
            while pending and (left := began + seconds - time.monotonic()) > 0:
                keys = [_key(probe_id) for probe_id in pending]
                entry = cast("tuple[str, str] | None", client.blpop(keys, timeout=min(left, _POLL_SECONDS)))
                if entry is not None:
                    name = pending.pop(entry[0].removeprefix(_PREFIX))
                    replies[name] = ProbeReply(worker=entry[1], seconds=time.monotonic() - began)
        finally:
            for probe_id, name in pending.items():
                queues.withdraw(name, probe_id)
    return replies


def _send(app: FBSCelery, target: Any, *, seconds: float) -> str:
    probe_id = str(uuid.uuid4())
    with app.broker.errors_translated():
        app.send_task(
            PROBE_TASK,
            task_id=probe_id,
            queue=target,
            ignore_result=True,
            expiration=seconds,  # applied by RabbitMQ's clock
            expires=seconds + _TTL_SECONDS,  # applied by the worker's clock, which may differ
        )
    return probe_id


def _key(probe_id: str) -> str:
    return f"{_PREFIX}{probe_id}"
