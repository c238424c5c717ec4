"""Probes: tiny tasks that go through a queue as jobs do, to see whether somebody takes jobs from it.

A probe is not a job: it has no record, no result and no events. Its answer is an entry of the Redis list
`fbs:probe:<id>`, which expires. One that nobody has taken is taken back, so that probes of a queue without workers do
not pile up.

A worker is asked by itself through a queue that it alone takes from, over the very connection through which it takes
its jobs. Celery's `worker_direct` would do that, too, but its queues stay bound in Redis: a set that grows by one
member with each worker that ever was (kombu, `Channel._queue_bind`). Here the queue has no exchange and thus no
binding; what is sent to it and not fetched expires, and RabbitMQ drops the queue with its only consumer.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, cast

from kombu.entity import Exchange, Queue

from fbs_worker.core import redis as queue
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.queues import Queues

PROBE_TASK: Final = "fbs.probe"

_KEPT_SECONDS: Final = 60
_SLICE_SECONDS: Final = 1.0
_PREFIX: Final = "fbs:probe:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReply:
    """The answer to a probe.

    Attributes:
        worker: the name of who answered.
        seconds: how long it took, from the sending.
    """

    worker: str
    seconds: float


def worker_queue(worker: str) -> Any:
    """The queue that one worker alone takes from.

    Args:
        worker: the worker's name, `NAME@host`.
    """
    name = f"fbs.worker.{worker}"
    nowhere = Exchange("")  # type: ignore[no-untyped-call]  # Kombu has half its types
    return Queue(  # type: ignore[no-untyped-call]
        name, nowhere, routing_key=name, durable=False, auto_delete=True, expires=_KEPT_SECONDS
    )


def send_reply(settings: Settings, probe_id: str, worker: str) -> None:
    """ProbeReply a probe; the task does.

    Args:
        settings: what the worker works with.
        probe_id: the task's id.
        worker: the worker's name.

    Raises:
        QueueUnreachable: Redis does not answer.
    """
    place = queue.address(settings.fbs_redis_url)
    with (
        queue.errors_translated(place),
        closing(queue.connect(settings.fbs_redis_url)) as client,
        client.pipeline() as pipe,
    ):
        pipe.rpush(_key(probe_id), worker)
        pipe.expire(_key(probe_id), _KEPT_SECONDS)
        pipe.execute()


def probe(app: FBSCelery, places: Iterable[Any], *, seconds: float) -> dict[str, ProbeReply]:
    """Send a probe to each of some queues and wait for the answers.

    Args:
        app: sends them; it sends no events from now on, so that probes do not show among jobs.
        places: Kombu's queues.
        seconds: how long to wait for all of them together.

    Returns:
        The answers by the queue's name; nothing for a queue from which nobody has answered.

    Raises:
        QueueUnreachable: Redis or the broker does not answer.
    """
    app.conf.task_send_sent_event = False
    url = app.settings.fbs_redis_url
    with queue.errors_translated(queue.address(url)), closing(queue.connect(url)) as client, Queues(app) as queues:
        began = time.monotonic()
        waiting = {_send(app, place, seconds=seconds): place.name for place in places}
        answers: dict[str, ProbeReply] = {}
        try:
            while waiting and (left := began + seconds - time.monotonic()) > 0:
                keys = [_key(probe_id) for probe_id in waiting]
                heard = cast("tuple[str, str] | None", client.blpop(keys, timeout=min(left, _SLICE_SECONDS)))
                if heard is not None:
                    name = waiting.pop(heard[0].removeprefix(_PREFIX))
                    answers[name] = ProbeReply(worker=heard[1], seconds=time.monotonic() - began)
        finally:
            for probe_id, name in waiting.items():
                queues.withdraw(name, probe_id)
    return answers


def _send(app: FBSCelery, place: Any, *, seconds: float) -> str:
    probe_id = str(uuid.uuid4())
    with app.broker.errors_translated():
        app.send_task(
            PROBE_TASK,
            task_id=probe_id,
            queue=place,
            ignore_result=True,
            expiration=seconds,  # RabbitMQ drops it then, by its own clock
            expires=seconds + _KEPT_SECONDS,  # a worker does, by its own: it may be wrong by a bit
        )
    return probe_id


def _key(probe_id: str) -> str:
    return f"{_PREFIX}{probe_id}"
