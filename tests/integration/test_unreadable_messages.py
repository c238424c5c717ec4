"""Messages that a worker cannot read: whoever can write to the broker may send them. Each is rejected and counted."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from fbs_worker.client.client import Client
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import METRICS_KEY
from fbs_worker.ops.local.embedded import EmbeddedRedis
from fbs_worker.ops.metrics import metrics_text
from tests.support.job_worker import job_worker
from tests.support.servers import redis_database
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.faults

QUEUE = "fbs.discovery"


def message(body: Any = ([], {}, {}), *, properties: Any = None, **headers: Any) -> bytes:
    """A message as Celery writes it, but for what is given; a header that is given as `...` is left out."""
    given = {
        "task": "fbs.refresh",
        "id": str(uuid.uuid4()),
        "lang": "py",
        "argsrepr": "()",
        "kwargsrepr": "{}",
    } | headers
    written = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {name: value for name, value in given.items() if value is not ...},
        "properties": properties
        or {
            "body_encoding": "base64",
            "correlation_id": str(uuid.uuid4()),
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "priority": 0,
            "reply_to": str(uuid.uuid4()),
        },
    }
    return json.dumps(written).encode()


REJECTED = {
    "no text": b"\xff\xfe",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"5",
    "an empty object": b"{}",
    "deep": b"[" * 100_000,
    "properties of another form": message(properties={"delivery_tag": 5}),
    "no delivery": message(properties={"body_encoding": "base64", "delivery_tag": "x", "delivery_info": {}}),
    "another encoding of the body": message(properties={"body_encoding": "rot13", "delivery_tag": "x"}),
    "headers that are a list": message().replace(b'"headers": {', b'"headers": [], "more": {'),
    "no headers": message().replace(b'"headers": {', b'"headers": null, "more": {'),
    "a task that is an object": message(task={"a": 1}),
    "a task that is a number": message(task=5),
    "a task of 16,000 letters": message(task="a" * 16_000),
    "a task that nobody knows": message(task="fbs.nothing"),
    "no task": message(task=...),
    "an id that is a number": message(id=5),
    "no id": message(id=...),
    "an ETA that is no time": message(eta="soon"),
    "an expiry that is an object": message(expires={"a": 1}),
    "time limits that are no numbers": message(timelimit="long"),
    "a body that is a number": message(5),
    "arguments that are a number": message([5, 5, 5]),
    "a body that is pickled": message().replace(b"application/json", b"application/x-python-serialize"),
}
NOT_RUN = {
    "arguments of another task": message([[], {"nothing": 1}, {}]),
    "retries that are a list": message(retries=[]),
    "a chain of what is no task": message([[], {"solution_name": "x"}, {"chain": [5], "callbacks": 5}]),
}
"""Read, and given to a process that runs jobs: it reports an error."""


@pytest.fixture
def settings(redis_server: EmbeddedRedis) -> Iterator[Settings]:
    with redis_database(redis_server.url) as url:
        yield Settings(fbs_redis_url=url, fbs_database_url="postgresql://nobody@127.0.0.1:1/none")


def test_each_is_rejected_and_counted_and_the_worker_goes_on(settings: Settings, tmp_path: Path) -> None:
    log, gate = tmp_path / "worker.log", tmp_path / "gate"
    gate.touch()
    with redis.Redis.from_url(settings.fbs_redis_url) as raw, Client(settings=settings) as client:
        with job_worker(settings, log=log) as worker:
            for poison in (*REJECTED.values(), *NOT_RUN.values()):
                raw.lpush(QUEUE, poison)
            job = client._enqueue("test.steps", {"gate": str(gate)}, domain="rental")
            assert job.wait(PATIENCE) == {"domain": "rental", "done": True}
            until(lambda: not raw.llen(QUEUE) and not raw.hlen("unacked"), log.read_text)
            assert worker.poll() is None
            assert log.read_text().count("ready.") == 1, log.read_text()
        assert int(raw.hget(METRICS_KEY, "rejected") or 0) == len(REJECTED), log.read_text()
        assert f"fbs_messages_rejected_total {len(REJECTED)}.0" in metrics_text(settings).decode()
    assert "a" * 300 not in log.read_text()


def test_what_is_damaged_among_unacknowledged_messages_hides_no_other(settings: Settings, tmp_path: Path) -> None:
    log, gate = tmp_path / "worker.log", tmp_path / "gate"
    gate.touch()
    with redis.Redis.from_url(settings.fbs_redis_url) as raw, Client(settings=settings) as client:
        for tag, content in {"a": "5", "b": "[]", "c": "{", "d": '[{"headers": 5}, "", ""]'}.items():
            raw.hset("unacked", tag, content)
            raw.zadd("unacked_index", {tag: 0})
        with job_worker(settings, log=log) as worker:
            assert client._enqueue("test.steps", {"gate": str(gate)}, domain="rental").wait(PATIENCE)["done"]
            assert worker.poll() is None
