"""Idempotency, OpenAPI, health and server of the API, with a real Redis, worker and server."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from cryptography.fernet import Fernet

from fbs_worker.client.client import Client
from fbs_worker.core.errors import JobError, QueueUnreachable, SettingsError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.programs import Program
from fbs_worker.web.api.errors import IdempotencyInProgress, IdempotencyMismatch
from fbs_worker.web.api.idempotency import TTL_SECONDS, Idempotency, IdempotentJob
from fbs_worker.web.api.problems import Problem
from fbs_worker.web.api.tokens import LOCAL, SCOPES, Principal, new_token
from fbs_worker.web.app import create_app
from tests.conftest import MakeSettings
from tests.support.api_server import READER, WRITER, ApiServer, api_server
from tests.support.asgi import Asking
from tests.support.redis_contents import everything_in
from tests.support.waiting import PATIENCE

OTHER = Principal(name="other", scopes=SCOPES["write"], token_id="x")
REQUEST = b'POST /api/v1/things/ {"password":"hunter2"}'


@pytest.fixture(scope="module")
def served(worker: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API beside the worker of all tests."""
    with api_server(worker.settings, log=tmp_path_factory.mktemp("api") / "api.log") as running:
        yield running


def once(
    idempotency: Idempotency,
    key: str | None,
    *,
    request: bytes = REQUEST,
    made: str | Callable[[], str] = "job-1",
    caller: Principal = LOCAL,
) -> IdempotentJob:
    enqueue = made if callable(made) else lambda: made
    return asyncio.run(idempotency.enqueue_once(caller, key, request, enqueue))


@pytest.fixture
def idempotency(settings: MakeSettings) -> Iterator[Idempotency]:
    with closing(Idempotency(settings())) as kept:
        yield kept


def test_the_same_request_gives_the_same_job(idempotency: Idempotency) -> None:
    assert once(idempotency, "k", made="job-1") == IdempotentJob(job_id="job-1")
    assert once(idempotency, "k", made="job-2") == IdempotentJob(job_id="job-1", replayed=True)
    assert once(idempotency, "other", made="job-2") == IdempotentJob(job_id="job-2")
    assert once(idempotency, "k", made="job-3", caller=OTHER) == IdempotentJob(job_id="job-3")


def test_without_a_key_each_request_makes_a_job(idempotency: Idempotency) -> None:
    assert [once(idempotency, None, made=job).job_id for job in ("job-1", "job-2")] == ["job-1", "job-2"]


def test_a_key_is_for_one_request(idempotency: Idempotency) -> None:
    once(idempotency, "k")
    with pytest.raises(IdempotencyMismatch):
        once(idempotency, "k", request=REQUEST + b" ")


def test_of_two_at_once_one_makes_the_job(idempotency: Idempotency) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        inside.set()
        assert go_on.wait(10)
        return "job-1"

    with ThreadPoolExecutor() as threads:
        first = threads.submit(once, idempotency, "k", made=slow)
        assert inside.wait(10)
        with pytest.raises(IdempotencyInProgress):
            once(idempotency, "k", made="job-2")
        go_on.set()
        assert first.result() == IdempotentJob(job_id="job-1")


def test_a_request_that_failed_may_be_sent_again(idempotency: Idempotency) -> None:
    def fail() -> str:
        raise QueueUnreachable("Redis does not answer.")

    with pytest.raises(QueueUnreachable):
        once(idempotency, "k", made=fail)
    assert once(idempotency, "k", made="job-2") == IdempotentJob(job_id="job-2")


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "x" * 256, "a\nb"])
def test_an_invalid_key_is_rejected(idempotency: Idempotency, key: str) -> None:
    with pytest.raises(UsageError, match="Idempotency-Key"):
        once(idempotency, key)


def test_entries_expire_after_a_day_and_disclose_nothing(idempotency: Idempotency, redis_url: str) -> None:
    once(idempotency, "a-key-of-mine")
    with redis.Redis.from_url(redis_url) as client:
        text = b"\n".join(everything_in(client))
    assert b"fbs:api:idem:" in text
    assert b"hunter2" not in text
    assert b"a-key-of-mine" not in text
    (name,) = idempotency._redis.scan_iter("fbs:api:idem:*")
    assert TTL_SECONDS - 60 < idempotency._redis.ttl(name) <= TTL_SECONDS


def test_a_key_of_fbs_that_is_changed_keeps_what_was_made(settings: MakeSettings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    with closing(Idempotency(settings(fbs_secret_keys=old))) as before:
        once(before, "k", made="job-1")
    with closing(Idempotency(settings(fbs_secret_keys=f"{new},{old}"))) as after:
        assert once(after, "k", made="job-2").replayed
    with closing(Idempotency(settings(fbs_secret_keys=new))) as after, pytest.raises(IdempotencyMismatch):
        once(after, "k", made="job-2")


@pytest.mark.parametrize(("given", "name"), [
    ({"fbs_api_tokens": "ci:write:x"}, "FBS_API_TOKENS"),
    ({"fbs_allowed_hosts": "10.0.0.0/99"}, "FBS_ALLOWED_HOSTS"),
    ({"fbs_redis_url": ""}, "FBS_REDIS_URL is not set"),
])  # fmt: skip
def test_invalid_settings_are_reported_at_startup(settings: MakeSettings, given: Any, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        create_app(settings(**given))


def document_of(settings: Settings) -> dict[str, Any]:
    report: dict[str, Any] = Asking(app=create_app(settings)).get("/api/v1/openapi.json").json()
    return report


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_is_complete(settings: MakeSettings) -> None:
    document = document_of(settings())
    found = list(operations(document))
    assert ("/api/v1/health/", "get") in [(path, method) for path, method, _ in found]
    names = [operation["operationId"] for _, _, operation in found]
    assert sorted(names) == sorted(set(names))
    for path, method, operation in found:
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where
        assert operation["security"], where
        responses = operation["responses"]
        assert {"401", "403", "429", "500"} <= set(responses), where
        if operation.get("requestBody"):
            assert {"413", "415", "422"} <= set(responses), where
            assert operation["requestBody"]["content"]["application/json"], where
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{where} {parameter['name']}"
        for status, response in responses.items():
            if int(status) < 400:
                continue
            assert list(response["content"]) == ["application/problem+json"], f"{where} {status}"
            for name, example in response["content"]["application/problem+json"]["examples"].items():
                problem = Problem.model_validate(example["value"])
                assert (problem.status, problem.code) == (int(status), name)
    for name, schema in document["components"]["schemas"].items():
        assert name not in {"HTTPValidationError", "ValidationError"}
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"


def test_nothing_of_it_is_loaded_from_elsewhere(settings: MakeSettings) -> None:
    asking = Asking(app=create_app(settings()))
    for path, status in (("/docs", 200), ("/redoc", 404), ("/openapi.json", 404)):
        assert "swagger" not in asking.get(path).text.lower()
        assert asking.get(path).status_code == status


def test_failed_health_is_a_problem_with_the_whole_report(settings: MakeSettings, no_redis: str) -> None:
    asking = Asking(app=create_app(settings(fbs_redis_url=no_redis)))
    answer = asking.get("/api/v1/health/")
    report = answer.json()
    assert (answer.status_code, report["code"]) == (503, "unhealthy")
    assert int(answer.headers["retry-after"]) > 0
    assert {check["name"]: check["health"] for check in report["context"]["checks"]}["redis"] == "failed"
    assert asking.get("/metrics").json()["code"] == "queue_unreachable"


def test_health_and_figures_of_what_runs(served: ApiServer) -> None:
    with ThreadPoolExecutor() as threads:
        many = [threads.submit(served.ask, "GET", "/api/v1/health/", token=READER) for _ in range(8)]
        answers = [one.result() for one in many]
    assert {answer.status_code for answer in answers} == {200}
    report = answers[0].json()
    assert report["health"] == "fine"
    assert {"redis", "home database", "fbs.discovery"} <= {check["name"] for check in report["checks"]}
    assert [worker["slots"] for worker in report["workers"]] == [2]
    assert served.ask("GET", "/api/v1/health", token=READER).json()["health"] == "fine"
    for path in ("/metrics", "/metrics/"):
        figures = served.ask("GET", path, token=READER)
        assert figures.headers["content-type"].startswith("text/plain; version=")
        assert "fbs_workers 1.0" in figures.text
    assert served.ask("GET", "/metrics", token="").status_code == 401


def test_the_wire_is_limited_too(served: ApiServer) -> None:
    head = f"POST /api/v1/solutions/setup/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nContent-Type: application/json\r\n"
    assert b" 413 " in spoken(served, f"{head}Content-Length: 999999999\r\n\r\n".encode()).splitlines()[0]
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 17
    answer = spoken(served, head.encode() + chunks)
    assert b" 413 " in answer.splitlines()[0]
    assert b"body_too_large" in answer
    assert b" 400 " in spoken(served, b"NONSENSE\r\n\r\n").splitlines()[0]


def spoken(served: ApiServer, words: bytes) -> bytes:
    """What the server says to these words until it has said enough, or hangs up."""
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as wire:
        wire.sendall(words)
        report = b""
        while b"}" not in report and (part := wire.recv(65536)):
            report += part
        return report


def test_a_server_says_what_it_is_not(served: ApiServer) -> None:
    answer = served.ask("GET", "/api/v1/health/", token="")
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert "set-cookie" not in answer.headers


def test_the_log_names_principals_of_writes_and_no_token(served: ApiServer) -> None:
    served.ask("POST", "/api/v1/nothing/", json={"password": "hunter2"})
    served.ask("GET", "/api/v1/nothing/", token="fbs_" + "x" * 43)
    text = served.log.read_text()
    assert "ci: POST /api/v1/nothing/ 404" in text
    assert "rejected a request from 127.0.0.1: unknown token" in text
    for secret in (WRITER, READER, "hunter2", "x" * 43):
        assert secret not in text


def test_without_tokens_it_answers_this_machine_alone(settings: MakeSettings, tmp_path: Path) -> None:
    with api_server(settings(fbs_api_tokens=""), log=tmp_path / "api.log") as running:
        assert running.ask("GET", "/metrics", token="").status_code == 200
        assert running.ask("GET", "/metrics", token="", headers={"Host": "evil.example"}).status_code == 403
        assert "(for this machine)" in running.log.read_text()
    with pytest.raises(JobError, match=r"would be reachable from other machines on 0\.0\.0\.0, but no token is set"):
        Program.start("api", settings=settings(fbs_api_address="0.0.0.0"), log=tmp_path / "other.log")


def test_a_port_in_use_is_reported(settings: MakeSettings, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JobError, match=f"Port {port} of 127.0.0.1 is in use"):
            Program.start("api", settings=settings(fbs_api_port=port), log=tmp_path / "api.log")


def test_it_ends_within_seconds_though_many_follow_jobs(settings: MakeSettings, tmp_path: Path) -> None:
    ours = settings(fbs_api_tokens="")
    with Client(settings=ours) as client, api_server(ours, log=tmp_path / "api.log") as running:
        job = client.discover(domain="rental")  # there is no worker

        def follow() -> str:
            with running.client.stream("GET", f"/api/v1/jobs/{job.id}/events/") as answer:
                lines = answer.iter_lines()
                report = next(line for line in lines if line.startswith("data: "))
                begun.release()
                return report + "".join(lines)

        begun = threading.Semaphore(0)
        with ThreadPoolExecutor(30) as threads:
            streams = [threads.submit(follow) for _ in range(20)]
            for _ in streams:
                assert begun.acquire(timeout=PATIENCE)
            began = time.monotonic()
            running.program.process.send(signal.SIGTERM)
            assert running.program.process.wait(PATIENCE)
            assert time.monotonic() - began < 6
            assert all('"queued"' in one.result() for one in streams)
        assert "Traceback" not in running.log.read_text()
        assert client.job(job.id).status().state == "queued"


def test_a_trusted_proxy_forwards_the_client_address(settings: MakeSettings, served: ApiServer, tmp_path: Path) -> None:
    def asked(of: ApiServer, client: str) -> str:
        headers = {"X-Forwarded-For": client, "X-Forwarded-Proto": "https"}
        assert of.ask("GET", "/metrics", token=new_token(), headers=headers).status_code == 401
        return of.log.read_text()

    with api_server(settings(fbs_api_proxies="127.0.0.0/8"), log=tmp_path / "api.log") as running:
        assert "rejected a request from 10.9.8.7:" in asked(running, "10.9.8.7")
    assert "10.9.8.6" not in asked(served, "10.9.8.6")
