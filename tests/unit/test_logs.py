"""Log formats: text or JSON, the job fields, redacted secrets."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.core.redaction import MAX_LENGTH, Redactor
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import make_app
from fbs_worker.jobs.worker.logging import JobLogHandler, JSONFormatter, job_context, set_step

SECRET = "vErY-secret-9"
QUIET = {"odoorpc": logging.WARNING, "celery.pool": logging.INFO}


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("fbs.test", logging.INFO, __file__, 1, message, arguments, None)
    made.__dict__.update(more)
    return made


def line(made: logging.LogRecord, *secrets: str) -> dict[str, Any]:
    reported = JSONFormatter(Redactor(secrets)).format(made)
    assert "\n" not in reported
    assert reported.isascii()
    value = json.loads(reported)
    assert isinstance(value, dict)
    return value


def test_a_line_is_an_object() -> None:
    reported = line(record("read %s models\n", 12, created=1_700_000_000.25))
    assert reported == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "INFO",
        "logger": "fbs.test",
        "process": "MainProcess",
        "message": "read 12 models",
    }


def test_any_text_stays_on_one_line() -> None:
    assert line(record("two\nlines, é, \udcff"))["message"] == "two\nlines, é, \udcff"


def test_a_trace_is_part_of_its_line() -> None:
    try:
        raise ValueError(f"no password={SECRET}")
    except ValueError:
        reported = line(record("it failed", exc_info=sys.exc_info()))
    assert "ValueError: no password=***" in reported["trace"]
    assert SECRET not in json.dumps(reported)


def test_each_line_in_the_context_has_the_job() -> None:
    with job_context("a1", "refresh", "fayvad"):
        assert line(record("begins")).items() >= {"job": "a1", "action": "refresh", "solution": "fayvad"}.items()
        assert "step" not in line(record("begins"))
        set_step("fields")
        assert line(record("goes on"))["step"] == "fields"
    assert "job" not in line(record("between jobs"))
    set_step("none")
    assert "step" not in line(record("between jobs"))


def test_jobs_in_threads_do_not_mix() -> None:
    reported: dict[str, dict[str, Any]] = {}
    both = threading.Barrier(2, timeout=10)

    def run(name: str) -> None:
        with job_context(name, "discover"):
            set_step(f"step of {name}")
            both.wait()
            reported[name] = line(record("works"))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {name: (one["job"], one["step"]) for name, one in reported.items()} == {
        "a": ("a", "step of a"),
        "b": ("b", "step of b"),
    }


def test_a_thread_of_a_job_logs_the_current_step() -> None:
    reported = []
    with job_context("a1", "discover"):
        inside = contextvars.copy_context()
        set_step("models")
        thread = threading.Thread(target=lambda: reported.append(inside.run(line, record("works"))))
        thread.start()
        thread.join(10)
    assert (reported[0]["job"], reported[0]["step"]) == ("a1", "models")


def test_celery_s_own_lines_have_the_job() -> None:
    reported = line(record("Task %(name)s received", data={"id": "a1", "name": "fbs.setup", "args": "()"}))
    assert (reported["job"], reported["action"]) == ("a1", "setup")


@pytest.mark.parametrize(
    "words",
    [
        "Cannot connect to redis://:{}@127.0.0.1:6379/0: refused",
        "sentinel://:{}@a:26379;sentinel://:{}@b:26379",
        "could not reach postgresql://user:{}@db/home",
        'connection to "host=db user=fbs password={} dbname=home" failed',
        "{{'database_config': {{'name': 'd', 'password': '{}'}}}}",
        'b\'[[], {{"database_config": {{"password": "{}"}}}}]\'',
        '"[[], {{\\"password\\": \\"{}\\"}}]"',
        "ODOO_API_KEY={}",
        "api_key='{}'",
        "{{'db_pass': '{}'}}",
        "{{'SomeSecretValue': '{}', 'access_token': '{}'}}",
        "private_key_2='{}'",
        "headers: {{'Authorization': 'Bearer {}'}}",
        "'password': '{}",  # cut off
        "'password': 'it\\'s {}'",
        "{{'password': 'sealed:{}'}}",
        "sealed:{}",
    ],
)
def test_what_looks_like_a_secret_is_redacted(words: str) -> None:
    filled = words.format(SECRET, SECRET)
    assert SECRET in filled
    redacted = Redactor()(filled)
    assert SECRET not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    "words",
    [
        "Task fbs.refresh[6f0c] succeeded in 0.4s: {'report': {'counts': {}}}",
        "Connected to redis://:**@127.0.0.1:6379/0",
        "Odoo refuses the password of reader@example.com at https://odoo.example.com.",
        "A plain password is not accepted here.",
        "http://odoo:8069/jsonrpc answered with 502, a mail went to me@example.com",
        "Seal it with FBS_SECRET_KEYS, or refer to it: env:NAME or file:PATH.",
    ],
)
def test_other_text_is_not_changed(words: str) -> None:
    assert Redactor()(words) == words


def test_the_secrets_of_the_settings_are_known_wherever_they_stand() -> None:
    settings = Settings.model_validate(
        {
            "odoo_password": "hunter2",
            "fbs_secret_keys": "first-key-of-two,second-key-of-two",
            "fbs_redis_url": "redis://:redis%2Dpass@localhost/0",
            "fbs_default_database_password": "env:RENTAL",
            "fbs_flower_password": "abc",
            "fbs_odoo": {"staging": {"url": "https://x", "api_key": "staging-api-key"}},
        }
    )
    redact = Redactor.from_settings(settings)
    words = "hunter2 first-key-of-two second-key-of-two redis-pass redis%2Dpass staging-api-key"
    assert redact(words) == " ".join(["***"] * 6)
    assert redact("hunter23, abcdef, env:RENTAL") == "hunter23, abcdef, env:RENTAL"


@pytest.fixture
def lines_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, logging.Handler]]:
    """Set logging up as a worker with these settings does, and restore it after the test."""
    from celery.app.log import Logging
    from celery.apps import worker
    from celery.utils.log import get_multiprocessing_logger

    def set_up(level: str = "INFO", **given: Any) -> dict[str, logging.Handler]:
        monkeypatch.setattr(Logging, "_setup", False)
        monkeypatch.setattr(worker, "safe_say", worker.safe_say)
        for name in ("", "celery.task", "odoorpc", "celery.pool", get_multiprocessing_logger().name):
            logger = logging.getLogger(name)
            monkeypatch.setattr(logger, "handlers", [])
            monkeypatch.setattr(logger, "level", logger.level)
            monkeypatch.setattr(logger, "propagate", logger.propagate)
        for name in ("LEVEL", "FILE", "FORMAT"):
            monkeypatch.setenv(f"_MP_FORK_LOG{name}_", "")
        settings = Settings.model_validate({"fbs_redis_url": "redis://localhost/0", "odoo_password": SECRET} | given)
        make_app(settings).log.setup_logging_subsystem(level)
        found = {name: logging.getLogger(name).handlers for name in ("", "celery.task")}
        return {name: [one for one in each if not isinstance(one, JobLogHandler)][-1] for name, each in found.items()}

    return set_up


def test_text_is_what_celery_logs(lines_of: Callable[..., dict[str, logging.Handler]]) -> None:
    made = record("it's %s", SECRET, processName="ForkPoolWorker-1")
    handlers = lines_of()
    assert handlers[""].format(made).endswith(": INFO/ForkPoolWorker-1] it's ***")
    assert handlers["celery.task"].format(made).endswith(": INFO/ForkPoolWorker-1] ???[???]: it's ***")


def test_json_is_for_every_logger(lines_of: Callable[..., dict[str, logging.Handler]]) -> None:
    for handler in lines_of(fbs_log_format="json").values():
        assert json.loads(handler.format(record("it's %s", SECRET)))["message"] == "it's ***"


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_loggers_with_secrets_keep_a_minimum_level(
    lines_of: Callable[..., dict[str, logging.Handler]], level: str
) -> None:
    lines_of(level)
    asked = logging.getLevelName(level)
    for name, floor in QUIET.items():
        assert logging.getLogger(name).level == max(asked, floor)
    assert not logging.getLogger("odoorpc.rpc.jsonrpclib").isEnabledFor(logging.DEBUG)


HOSTILE = {
    "a_word": "a",
    "spaces after authorization": "authorization:" + " ",
    "backslashes after a name": 'password="\\',
    "names": "password",
    "a scheme": "a://b:c",
    "quotes": "secret='",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_redaction_takes_time_linear_in_the_text(kind: str) -> None:
    """A text of 30 kB took 34 s before it was: one of 1 MB would take hours."""
    head, tail = HOSTILE[kind][:-1], HOSTILE[kind][-1]
    redact = Redactor(("a-known-secret",))

    def seconds(length: int) -> float:
        texts = (head + tail * length, (HOSTILE[kind] * length)[:length])
        began = time.process_time()
        for text in texts:
            assert len(redact(text)) < MAX_LENGTH + 100
        return time.process_time() - began

    assert seconds(250_000) < 50 * max(min(seconds(25_000) for _ in range(3)), 0.002)


def test_a_long_text_is_cut_and_no_secret_shows_at_the_cut() -> None:
    reported = Redactor((SECRET,))("x" * (MAX_LENGTH - 4) + SECRET + "y" * 100)
    assert SECRET[:4] not in reported
    assert reported.endswith("… (99 more characters)")


def test_what_is_logged_during_a_job_is_kept() -> None:
    kept: list[tuple[str, str, str]] = []
    log = logging.Logger("fbs.test")

    def keep(*line: str) -> None:
        log.warning("logged while a line is kept")
        kept.append((line[0], line[1], line[2]))
        raise QueueUnreachable("Redis does not answer.")  # the worker's own log has the line

    log.addHandler(JobLogHandler(keep, Redactor((SECRET,))))
    log.warning("between jobs")
    with job_context("a1", "refresh"):
        log.warning("slow: %s", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("it failed")
    (slow, failed) = kept
    assert slow == ("a1", "WARNING", "slow: ***")
    assert failed[:2] == ("a1", "ERROR")
    assert failed[2].startswith("it failed\nTraceback")
    assert SECRET not in failed[2]
