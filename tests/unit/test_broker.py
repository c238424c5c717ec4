"""The broker of the settings, and its Celery configuration."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu.connection import Connection
from redis.exceptions import ReadOnlyError

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.broker import Broker
from fbs_worker.jobs.config import configuration

RECORDS = "redis://:secret@127.0.0.1:1/3"


def settings(url: str = "", **given: Any) -> Settings:
    return Settings(fbs_redis_url=RECORDS, fbs_broker_url=url, **given)


@pytest.mark.parametrize(
    ("url", "kind", "place", "is_job_store"),
    [
        ("", "redis", "127.0.0.1:1", True),
        (RECORDS, "redis", "127.0.0.1:1", True),
        ("redis://:secret@other:6380/0", "redis", "other:6380", False),
        ("amqp://me:secret@rabbit/shop", "amqp", "rabbit:5672", False),
        ("amqps://me:secret@rabbit:5671/shop", "amqp", "rabbit:5671", False),
        ("sentinel://:secret@one:26379/0?master_name=mine", "sentinel", "one:26379", False),
        ("sentinel://:secret@one;sentinel://two:2/0?master_name=mine", "sentinel", "one:26379, two:2", False),
    ],
)
def test_a_broker(url: str, kind: str, place: str, is_job_store: bool) -> None:
    broker = Broker.from_settings(settings(url))
    assert (broker.kind, broker.address, broker.is_job_store) == (kind, place, is_job_store)
    assert "secret" not in repr(broker)


def test_a_broker_that_rejects_is_worded_for_its_setting() -> None:
    error = Broker.from_settings(settings("redis://other:6380/0")).translated(ReadOnlyError("You can't write"))
    assert error.message == "Redis at other:6380 is a read-only replica."
    assert "FBS_BROKER_URL" in error.hint


@pytest.mark.parametrize(
    "url", ["redis://x/0", "rediss://x/0", "rediss://x/0?ssl_cert_reqs=CERT_NONE&max_connections=3"]
)
def test_options_reach_celery_and_its_url_has_none(url: str) -> None:
    conf = configuration(Settings(fbs_redis_url=url))
    assert {conf["broker_url"], conf["result_backend"]} == {url.partition("?")[0]}
    verify = {"redis": None, "rediss": ssl.CERT_NONE if "NONE" in url else ssl.CERT_REQUIRED}[url.partition(":")[0]]
    assert (
        conf["broker_use_ssl"]
        == conf["redis_backend_use_ssl"]
        == (None if verify is None else {"ssl_cert_reqs": verify})
    )
    assert conf["broker_transport_options"].get("max_connections") == (3 if "max" in url else None)


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@x",
        "rabbit:secret",
        "amqp://",
        "redis://:secret@x/one",
        "sentinel://:secret@one:26379/0",
        "sentinel://:secret@one:26379/0?master=mine",
        "sentinel://:secret@one:26379;redis://two:1/0?master_name=mine",
        "sentinel://:secret@one:port/0?master_name=mine",
        "sentinel://:secret@one/shop?master_name=mine",
    ],
)
def test_an_invalid_broker_url_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        configuration(settings(url))
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("url", ["amqp://me:secret@rabbit/shop", "sentinel://one;sentinel://two/0?master_name=mine"])
def test_records_and_results_stay_in_their_redis(url: str) -> None:
    reported = configuration(settings(url))
    assert reported["result_backend"] == RECORDS
    assert reported["broker_url"].startswith(url[:13])


def test_kombu_parses_the_sentinels() -> None:
    reported = configuration(settings("sentinel://:secret@one:1;sentinel://two:2/4?master_name=mine"))
    options = reported["broker_transport_options"]
    assert (options["master_name"], options["visibility_timeout"]) == ("mine", 3600)
    with Connection(reported["broker_url"], transport_options=options) as connection:  # type: ignore[no-untyped-call]
        assert connection.alt == ["sentinel://:secret@one:1/4", "sentinel://two:2"]
        assert (connection.virtual_host, connection.password) == ("4", "secret")
        assert connection.transport_cls == "sentinel"


def test_rabbitmq_has_publisher_confirms_and_no_redis_options() -> None:
    options = configuration(settings("amqp://rabbit"))["broker_transport_options"]
    assert options["confirm_publish"] is True
    assert "visibility_timeout" not in options


@pytest.mark.parametrize("times", [{"countdown": 1801}, {"eta": datetime.now(tz=UTC) + timedelta(hours=1)}])
def test_a_long_countdown_is_rejected(times: dict[str, Any]) -> None:
    app = make_app(settings(), results=False)
    for later in (times, {key: value.isoformat() for key, value in times.items() if key == "eta"} or times):
        with pytest.raises(UsageError, match="countdown/eta may be at most 1800 s") as caught:
            app.send_task("fbs.refresh", kwargs={"solution_name": "shop"}, **later)
        assert "fbs schedule" in caught.value.hint
    with pytest.raises(UsageError):
        app.signature("fbs.refresh", kwargs={"solution_name": "shop"}).apply_async(**times)
