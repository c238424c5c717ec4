"""Cost of the queue: enqueuing, running and reporting progress, each against Celery alone; and how it scales.

Enqueuing: `Client.refresh` of ever new solutions against `apply_async` of a bare Celery application with the same
broker and results. They take turns, a hundred at a time.

Running: jobs that do nothing against bare Celery tasks that do nothing, through the same worker with the same settings
(acknowledged late, results stored, events sent). Each kind is enqueued while no worker runs, between two tasks that
return the time; one worker with one process then takes them all. Both kinds in turns, the median of the rounds.

Progress: discoveries of a live Odoo by a worker, with progress reports (record, events, Celery's results) and without,
in turns; the median of the additional time within each pair.

Scaling: 50 solutions whose Odoo has not changed, refreshed by one, two and four worker processes. The Odoo is a small
server that answers from the recording, each request 200 ms late.

    python -m bench.bench_queue [enqueue|run|progress|scale]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from celery import Celery
from pydantic import SecretStr

from bench.live import live_odoo
from fbs_worker import connectors
from fbs_worker.client.client import Client, JobHandle
from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.core.vault import new_key
from fbs_worker.jobs.app import FBSCelery, make_app
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.ops.local.state import database_url

LEAST_ENQUEUE: Final = 0.8
LEAST_RUN: Final = 0.8
MOST_PROGRESS: Final = 0.03
LEAST_LINEAR: Final = 0.8

ENQUEUED: Final = 100
ENQUEUE_ROUNDS: Final = 21
NOTHINGS: Final = 1_000
RUN_ROUNDS: Final = 5
DISCOVERIES: Final = 101
SOLUTIONS: Final = 50
LATENCY: Final = 0.2
PROCESSES: Final = (1, 2, 4)

_ROOT: Final = Path(__file__).parent.parent
_RECORDING: Final = Path(connectors.__file__).parent / "recordings" / "odoo19.json.xz"
_PATIENCE: Final = 600.0


class QueueBench:
    """A Redis and a PostgreSQL of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._postgres = stack.enter_context(EmbeddedPostgres.start(folder / "postgres"))
        self._redis = stack.enter_context(EmbeddedRedis.start(folder / "redis"))
        self._postgres.create_database("home")
        self.settings = Settings(
            fbs_redis_url=self._redis.url,
            fbs_database_url=database_url(self._postgres.config("home")),
            fbs_home=folder / "home",
            fbs_secret_keys=SecretStr(new_key()),
            fbs_odoo_max_calls=max(PROCESSES),
        )

    def config(self, name: str) -> DatabaseConfig:
        """A new, empty database."""
        self._postgres.drop_database(name)
        self._postgres.create_database(name)
        return self._postgres.config(name)

    def database(self, name: str) -> dict[str, Any]:
        """A new, empty database, as requests have it."""
        return self.config(name).model_dump(exclude={"password"})

    # ------------------------------------------------------------------------------------------------- enqueuing

    def enqueue(self) -> dict[str, float]:
        """How many are enqueued in a second, and the ratio of ours to Celery's."""
        plain = Celery("plain", broker=self.settings.fbs_redis_url, backend=self.settings.fbs_redis_url)
        plain.conf.update(task_serializer="json", accept_content=["json"], task_default_queue="plain")

        @plain.task(name="plain.refresh")  # type: ignore[untyped-decorator]
        def task(*, solution_name: str) -> str:
            return solution_name

        number = iter(range(1_000_000))

        def bare() -> None:
            task.apply_async(kwargs={"solution_name": f"s{next(number)}"})

        rates: dict[str, list[float]] = {"client": [], "bare": []}
        with Client(settings=self.settings) as client:
            for _ in range(ENQUEUE_ROUNDS + 1):
                rates["bare"].append(_rate(bare))
                rates["client"].append(_rate(lambda: client.refresh(f"s{next(number)}")))
        plain.close()
        self.empty()
        ratios = [ours / theirs for ours, theirs in zip(rates["client"], rates["bare"], strict=True)]
        return {
            "client_per_second": statistics.median(rates["client"][1:]),
            "bare_per_second": statistics.median(rates["bare"][1:]),
            "ratio": statistics.median(ratios[1:]),
        }

    # --------------------------------------------------------------------------------------------------- running

    def run(self) -> dict[str, float]:
        """How many are run in a second by one worker process, and the ratio of jobs to bare tasks."""
        app = make_app(self.settings)
        rates: dict[str, list[float]] = {"job": [], "bare": []}
        with Client(settings=self.settings) as client:

            def send_job(number: int) -> None:
                client._enqueue("bench.job", {"number": number}, solution=f"s{number}")

            def send_bare(number: int) -> None:
                app.send_task("bench.bare", kwargs={"number": number})

            for _ in range(RUN_ROUNDS):
                rates["bare"].append(self._rate_of(app, send_bare))
                rates["job"].append(self._rate_of(app, send_job))
        app.close()
        ratios = [ours / theirs for ours, theirs in zip(rates["job"], rates["bare"], strict=True)]
        return {
            "job_per_second": statistics.median(rates["job"]),
            "bare_per_second": statistics.median(rates["bare"]),
            "ratio": statistics.median(ratios),
        }

    def _rate_of(self, app: FBSCelery, send: Callable[[int], None]) -> float:
        first = app.send_task("bench.mark")
        for number in range(NOTHINGS):
            send(number)
        last = app.send_task("bench.mark")
        with self.workers(1):
            span = float(last.get(timeout=_PATIENCE)) - float(first.get(timeout=_PATIENCE))
        self.empty()
        return NOTHINGS / span

    # -------------------------------------------------------------------------------------------------- progress

    def progress(self, odoo: OdooConnection) -> dict[str, float]:
        """Measure what reporting its progress adds to a discovery."""
        settings = self.settings.model_copy(
            update={
                "odoo_url": odoo.url,
                "odoo_db": odoo.db,
                "odoo_user": odoo.user,
                "odoo_password": odoo.password,
            }
        )
        given = {"domain": "rental", "database_config": self.database("progress")}
        times: dict[bool, list[float]] = {True: [], False: []}
        with self.workers(1, settings), Client(settings=settings) as client:
            for number in range(2 * (DISCOVERIES + 1)):
                report = number % 2 == (number // 2) % 2  # first one kind, then the other
                job = client._enqueue("bench.discover", {**given, "number": number, "report": report})
                times[report].append(job.wait(_PATIENCE)["seconds"])
        self.empty()
        added = [reporting / silent - 1 for reporting, silent in zip(times[True], times[False], strict=True)][1:]
        return {
            "added": statistics.median(added),
            "seconds": statistics.median(times[True][1:]),
            "silent_seconds": statistics.median(times[False][1:]),
        }

    # --------------------------------------------------------------------------------------------------- scaling

    def scale(self) -> dict[str, float]:
        """Seconds for all refreshes by each number of processes, and how much of linear that is."""
        with _late_odoo(0) as url:
            settings = _reading(self.settings, url)
            self._set_up(settings)
            # a fingerprint is final once its newest date has passed: the first refreshes store it
            with self.workers(2, settings), Client(settings=settings) as client:
                _wait([client.refresh(_name(number)) for number in range(SOLUTIONS)])
        figures: dict[str, float] = {}
        port = int(url.rpartition(":")[2])
        with _late_odoo(LATENCY, port=port):
            for count in PROCESSES:
                with self.workers(count, settings), Client(settings=settings) as client:
                    begun = time.perf_counter()
                    results = _wait([client.refresh(_name(number)) for number in range(SOLUTIONS)])
                    figures[f"seconds_{count}"] = time.perf_counter() - begun
                    if any(result["report"]["read"] for result in results):
                        raise AssertionError("an Odoo that did not change was read")
                figures[f"linear_{count}"] = figures["seconds_1"] / figures[f"seconds_{count}"] / count
        return figures

    def _set_up(self, settings: Settings) -> None:
        database = self.database("many")
        for number in range(SOLUTIONS):
            run_in_process(
                "fbs.setup",
                {
                    "solution_name": _name(number),
                    "domain": "hr",
                    "database_config": database,
                    "table_prefix": f"f{number}_",
                    "business_prefix": f"b{number}_",
                },
                settings=settings,
            )

    @contextmanager
    def workers(self, count: int, settings: Settings | None = None, *, processes: int = 1) -> Iterator[list[int]]:
        """Start workers, and wait until they are ready; yields their ids."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
        with ExitStack() as stack:
            started, ids = [], []
            for _ in range(count):
                ready, report = os.pipe()
                log = stack.enter_context((self._folder / "worker.log").open("ab"))
                worker = subprocess.Popen(
                    [sys.executable, "-m", "bench.queue_worker", str(report), str(processes)],
                    cwd=_ROOT,
                    env=inherited | settings_environment(settings or self.settings),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[report],
                )
                os.close(report)
                ids.append(worker.pid)
                stack.callback(worker.wait)
                stack.callback(worker.terminate)
                started.append(stack.enter_context(os.fdopen(ready, "rb")))
            for ready_file in started:
                if not ready_file.read(1):
                    raise RuntimeError((self._folder / "worker.log").read_text()[-2000:])
            yield ids

    def empty(self) -> None:
        """Empty Redis between two measurements."""
        with self._redis_client() as client:
            client.flushdb()

    def _redis_client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.settings.fbs_redis_url)


def _rate(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(ENQUEUED):
        work()
    return ENQUEUED / (time.perf_counter() - begun)


def _wait(handles: Sequence[JobHandle]) -> list[dict[str, Any]]:
    return [handle.wait(_PATIENCE) for handle in handles]


def _name(number: int) -> str:
    return f"solution_{number}"


def _reading(settings: Settings, url: str) -> Settings:
    given = {"odoo_url": url, "odoo_db": "live", "odoo_user": "admin", "odoo_password": SecretStr("admin-password")}
    return settings.model_copy(update=given)


@contextmanager
def _late_odoo(latency: float, *, port: int = 0) -> Iterator[str]:
    """The small server of the tests, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.odoo_server", "--recording", str(_RECORDING)]
    command += ["--latency", str(latency), "--port", str(port)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def run(parts: Sequence[str] = ("enqueue", "run", "progress", "scale")) -> dict[str, dict[str, float]]:
    """Measure on servers that are started for it, and removed.

    Args:
        parts: what to measure; `progress` is skipped if no live Odoo is available.
    """
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fbs-bench-")))
        bench = QueueBench(folder, stack)
        if "enqueue" in parts:
            figures["enqueue"] = bench.enqueue()
        if "run" in parts:
            figures["run"] = bench.run()
        if "progress" in parts:
            with live_odoo() as odoo:
                if odoo is not None:
                    figures["progress"] = bench.progress(odoo)
        if "scale" in parts:
            figures["scale"] = bench.scale()
    return figures


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the missed targets, one line each."""
    missed = []
    for name, least in (("enqueue", LEAST_ENQUEUE), ("run", LEAST_RUN)):
        if name in figures and figures[name]["ratio"] < least:
            missed.append(f"queue, {name}: {figures[name]['ratio']:.2f} of bare Celery (at least {least})")
    if "progress" in figures and figures["progress"]["added"] >= MOST_PROGRESS:
        missed.append(
            f"reporting progress: {figures['progress']['added']:.1%} of a discovery (below {MOST_PROGRESS:.0%})"
        )
    for count in PROCESSES[1:]:
        linear = figures.get("scale", {}).get(f"linear_{count}", 1.0)
        if linear < LEAST_LINEAR:
            missed.append(f"{count} worker processes: {linear:.2f} of linear (at least {LEAST_LINEAR})")
    return missed


if __name__ == "__main__":
    measured = run(sys.argv[1:]) if sys.argv[1:] else run()
    print(json.dumps({name: {k: round(v, 4) for k, v in found.items()} for name, found in measured.items()}, indent=2))
    missed = misses(measured)
    print("\n".join(missed) or "every target is met")
    sys.exit(bool(missed))
