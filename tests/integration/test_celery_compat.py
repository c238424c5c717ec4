"""How Celery and kombu behave where the adapters rely on it: on a real Redis, with the installed versions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from kombu.entity import Exchange, Queue

from fbs_worker.jobs.app import FBSCelery, make_app
from fbs_worker.jobs.celery_compat import redis_channel
from fbs_worker.jobs.celery_compat.outbox import Outbox
from fbs_worker.jobs.worker.steps import WorkerRegistryStep
from tests.conftest import MakeSettings

QUEUE = "fbs.schema"
TASK = "fbs.setup"


@pytest.fixture
def app(settings: MakeSettings) -> Iterator[FBSCelery]:
    with make_app(settings(), results=False) as made:
        yield made


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(redis_url)) as client:
        yield client


@pytest.fixture
def channel(app: FBSCelery) -> Iterator[Any]:
    with app.connection_for_write() as connection, connection.channel() as opened:
        yield opened


def shape(message: bytes | str) -> dict[str, Any]:
    """A message without what differs from one to the next."""
    read: dict[str, Any] = json.loads(message)
    properties = {key: value for key, value in read["properties"].items() if key not in {"delivery_tag", "reply_to"}}
    return {**read, "properties": properties}


def test_a_captured_message_is_the_one_that_celery_sends(app: FBSCelery, raw: redis.Redis, redis_url: str) -> None:
    kwargs = {"solution_name": "a"}
    database = int(redis_url.rpartition("/")[2])
    with raw.pubsub() as events:  # type: ignore[no-untyped-call]
        events.psubscribe("*")
        app.send_task(TASK, kwargs=kwargs, task_id="1")
        captured = Outbox(app, database=database).commands(TASK, kwargs, job_id="1")
        heard: list[dict[str, Any]] = []
        deadline = time.monotonic() + 10
        while not heard and time.monotonic() < deadline:
            message = events.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message and message["channel"].decode().startswith(f"/{database}."):
                heard.append(message)
    (sent,) = raw.lrange(QUEUE, 0, -1)
    commands = {command: (key, content) for command, key, content in captured}
    assert commands.keys() == {"LPUSH", "PUBLISH"}
    assert commands["LPUSH"][0] == QUEUE
    assert shape(commands["LPUSH"][1]) == shape(sent)
    assert commands["PUBLISH"][0] == heard[0]["channel"].decode()
    event, other = (json.loads(text)["headers"] for text in (commands["PUBLISH"][1], heard[0]["data"]))
    assert event["hostname"] == other["hostname"]


def test_an_unacknowledged_message_is_found_and_requeued(app: FBSCelery, channel: Any, raw: redis.Redis) -> None:
    assert redis_channel.is_redis(channel)
    assert redis_channel.queue_length(channel, QUEUE) == 0
    assert redis_channel.next_message(channel, QUEUE) is None
    before = time.time()
    app.send_task(TASK, kwargs={"solution_name": "a"}, task_id="1")
    app.send_task(TASK, kwargs={"solution_name": "b"}, task_id="2")
    assert redis_channel.queue_length(channel, QUEUE) == 2
    following = redis_channel.next_message(channel, QUEUE)
    assert following is not None
    assert json.loads(following)["headers"]["id"] == "1"

    received = channel.basic_get(QUEUE)
    assert received.headers["id"] == "1"
    (tag,) = times = redis_channel.delivery_times(channel)
    assert tag == received.delivery_tag
    assert before <= times[tag] <= time.time()
    assert redis_channel.unacknowledged(channel, []) == {}
    read = redis_channel.unacknowledged(channel, [tag, "gone"])
    assert {key: value["id"] for key, value in read.items()} == {tag: "1"}
    assert read[tag]["task"] == TASK

    redis_channel.requeue(channel, tag)
    assert redis_channel.delivery_times(channel) == {}
    assert sorted(json.loads(message)["headers"]["id"] for message in raw.lrange(QUEUE, 0, -1)) == ["1", "2"]
    redis_channel.requeue(channel, tag)
    redis_channel.remove_message(channel, QUEUE, '"id": "2"', newest=10)
    (left,) = raw.lrange(QUEUE, 0, -1)
    assert json.loads(left)["headers"]["id"] == "1"


def test_a_channel_closes_after_its_connection_was_lost(
    app: FBSCelery, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where upstream closes at once, `close_after_loss` and this test are no longer needed."""
    lost = channel.connection_errors[0]

    def waiting(opened: Any) -> None:
        """A BRPOP is pending, and reading its reply fails once."""
        opened._in_poll = opened.client.connection or True

        def read(**_options: Any) -> None:
            opened._in_poll = None
            raise lost("the connection is lost")

        monkeypatch.setattr(opened, "_brpop_read", read)

    waiting(channel)
    with pytest.raises(lost):
        channel.close()
    assert not channel.closed
    with app.connection_for_write() as connection:
        second = connection.channel()
        waiting(second)
        redis_channel.close_after_loss(second)
        second.close()
        assert second.closed


def test_a_further_queue_keeps_its_exchange(app: FBSCelery) -> None:
    """Celery puts its default exchange in place of one without a name."""
    plain = Queue("plain", Exchange(""), routing_key="plain")  # type: ignore[no-untyped-call]
    queues = app.amqp.queues
    queues.select_add(plain)
    assert plain.exchange.name != ""
    WorkerRegistryStep(SimpleNamespace(app=app, hostname="a@b"))
    own = queues["fbs.worker.a@b"]
    assert own.exchange.name == ""
    assert {own.name, "plain"} <= set(queues.consume_from)
