"""Many solutions on schedules over many small Odoos that answer late: how far behind they are, and what they cost.

The Odoos (`records_server`) answer each request 200 ms late; PostgreSQL, Redis, beat and the workers are real. Each
solution mirrors one model of 1,000 records, of which five are always just changed, and is synced every minute.
Solutions take Odoos in turn. First all Odoos are alike; then one of them answers 5 s late.

*Waited*: from the slot of the schedule to the beginning of the job. *Behind*: from the slot to the end of the job.

*Costs*: a sync of five changes, by one worker process, against an Odoo that answers at once: jobs in a second, CPU
time of the process, calls of Odoo, bytes of Redis while it waits and once it is done, memory, connections.

200 solutions every minute are as many jobs in a second as 1,000 every five minutes.

    python -m bench.bench_fleet [costs|fleet …] [--solutions 200] [--odoos 50] [--processes 8] [--minutes 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import redis
from pydantic import SecretStr

from bench.bench_queue import QueueBench
from bench.bench_records import MadeOdoos, Target, made_model, set_up
from fbs_worker.client.client import Client
from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.config import RECORDS_QUEUE
from fbs_worker.jobs.model import JobRecord
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.scheduling.model import Kind, Schedule
from fbs_worker.scheduling.service import open_home
from fbs_worker.solutions.odoo_connections import add_odoo
from fbs_worker.solutions.odoo_requests import OdooAddRequest

SOLUTIONS: Final = 200
ODOOS: Final = 50
PROCESSES: Final = 8
MINUTES: Final = 2.0
EVERY: Final = "1m"
ROWS: Final = 1_000
HOT: Final = 5
LATENCY: Final = 0.2
SLOW: Final = 5.0
WAITING: Final = 500
"""Jobs of which the bytes are measured."""

_MODEL: Final = "made.model"
_ROOT: Final = Path(__file__).parent.parent


class _Fleet:
    """Solutions, each with a stored connection to its Odoo."""

    def __init__(self, folder: Path, stack: ExitStack, *, solutions: int, odoos: int, latency: float) -> None:
        self.queue = QueueBench(folder, stack)
        self.folder = folder
        self.odoos = stack.enter_context(
            MadeOdoos({"models": {_MODEL: ROWS}, "servers": odoos, "latency": 0.0, "hot": HOT})
        )
        self.settings = self.queue.settings.model_copy(update={"fbs_sync_sweep_every": 86_400})
        for number, port in enumerate(self.odoos.ports):
            add_odoo(
                self.settings,
                OdooAddRequest(
                    name=f"odoo{number}",
                    url=f"http://127.0.0.1:{port}",
                    db="made",
                    user="made",
                    password=SecretStr("made"),
                ),
            )
        self.names = [f"s{number}" for number in range(solutions)]
        self.odoo_of = {name: number % odoos for number, name in enumerate(self.names)}
        first = self.names[0]
        target = set_up(first, [made_model(_MODEL)], self.queue.config(first), self.settings, odoo="odoo0")
        run_in_process("fbs.sync", {"solution_name": first}, settings=self.settings)
        self.home = DatabaseConfig.from_url(self.settings.fbs_database_url)
        with closing(connect(self.home)) as connection:
            connection.autocommit = True
            for name in self.names[1:]:
                self._clone(connection, target, name)
        self.odoos.slow(latency)

    def _clone(self, home: Connection, target: Target, name: str) -> None:
        """Another solution, in a copy of the first one's database: much faster than a set-up and a first copy."""
        values = {"name": name, "of": target.solution, "odoo": f'"odoo{self.odoo_of[name]}"'}
        changed = "solution_name = %(name)s, database_name = %(name)s"
        odoo = "jsonb_set(schema_definition, '{odoo}', %(odoo)s)"
        with home.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {target.solution}")
            columns = "domain, database_user, database_password, table_prefix, business_prefix, is_active"
            cursor.execute(
                f"INSERT INTO fbs_solution_schemas (solution_name, database_name, schema_definition, {columns})"
                f" SELECT %(name)s, %(name)s, {odoo}, {columns} FROM fbs_solution_schemas WHERE solution_name = %(of)s",
                values,
            )
        with closing(connect(target.database.model_copy(update={"name": name}))) as own, own, own.cursor() as cursor:
            prefix = f"{target.solution}_fbs_"
            cursor.execute(f"UPDATE {prefix}solution_schemas SET {changed}, schema_definition = {odoo}", values)
            cursor.execute(f"UPDATE {prefix}replication SET solution_name = %(name)s", values)

    def client(self) -> Client:
        """A client of its queue."""
        return Client(settings=self.settings)

    @contextmanager
    def beat(self) -> Iterator[None]:
        """A running beat."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
        with (self.folder / "beat.log").open("ab") as log:
            beat = subprocess.Popen(
                [sys.executable, "-m", "fbs_worker.cli", "beat"],
                cwd=_ROOT,
                env=inherited | settings_environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                yield
            finally:
                beat.terminate()
                beat.wait()


# ------------------------------------------------------------------------------------------------------------ fleet


class _Watch(threading.Thread):
    """Samples the queue and Redis every half second."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._ended = threading.Event()
        self.lengths: list[int] = []
        self.megabytes: list[float] = []

    def run(self) -> None:
        """Until `end`."""
        with redis.Redis.from_url(self._url) as client:
            while not self._ended.wait(0.5):
                self.lengths.append(int(client.llen(RECORDS_QUEUE)))
                self.megabytes.append(client.info("memory")["used_memory"] / 1e6)

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()


def measure_fleet(
    folder: Path, *, solutions: int, odoos: int, processes: int, minutes: float
) -> dict[str, dict[str, float]]:
    """Schedules for some minutes with all Odoos alike, and as long with a slow one."""
    figures: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        fleet = _Fleet(folder, stack, solutions=solutions, odoos=odoos, latency=0.0)
        client = stack.enter_context(fleet.client())
        fleet.odoos.slow(LATENCY)
        look = 1_000 * _median(partial(_look, fleet.settings))
        with fleet.queue.workers(max(1, processes // 4), fleet.settings, processes=min(4, processes)), fleet.beat():
            for name in fleet.names:
                client.set_schedule(name, sync_every=EVERY)
            for phase, slow in (("all alike", None), ("one is slow", 0)):
                if slow is not None:
                    fleet.odoos.slow(SLOW, number=slow)
                time.sleep(15)  # what began before is over
                figures[phase] = {**_phase(fleet, client, minutes, slow=slow), "beat_look_ms": look}
    return figures


def _phase(fleet: _Fleet, client: Client, minutes: float, *, slow: int | None) -> dict[str, float]:
    watch = _Watch(fleet.settings.fbs_redis_url)
    calls = sum(fleet.odoos.calls().values())
    begun = datetime.now().astimezone()
    watch.start()
    time.sleep(60 * minutes)
    watch.end()
    calls = sum(fleet.odoos.calls().values()) - calls
    time.sleep(5)
    jobs = [job for job in client.jobs(100_000, action="sync") if job.created_at >= begun]
    waited, behind, of_slow, begun_late = [], [], [], 0
    for job in jobs:
        slot = _slot(job)
        if job.started_at is None or job.finished_at is None:
            begun_late += 1
            continue
        if slow is not None and fleet.odoo_of[job.solution] == slow:
            of_slow.append((job.finished_at - slot).total_seconds())
            continue
        waited.append((job.started_at - slot).total_seconds())
        behind.append((job.finished_at - slot).total_seconds())
    return {
        "jobs": len(jobs),
        "unfinished": begun_late,
        "failed": sum(job.error is not None for job in jobs),
        "jobs_per_second": len(jobs) / (60 * minutes),
        "calls_per_second": calls / (60 * minutes),
        **_spread("waited", waited),
        **_spread("behind", behind),
        **_spread("behind_at_the_slow_one", of_slow),
        "queue_median": statistics.median(watch.lengths),
        "queue_most": max(watch.lengths),
        "redis_megabytes": max(watch.megabytes),
    }


def _slot(job: JobRecord) -> datetime:
    """The slot that a job is for: the last one before it was enqueued."""
    schedule = Schedule.parse(every=EVERY)
    return schedule.after(job.created_at - timedelta(minutes=1), name=job.solution)


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        f"{name}_median": statistics.median(ordered),
        f"{name}_95": ordered[int(0.95 * (len(ordered) - 1))],
        f"{name}_most": ordered[-1],
    }


# ------------------------------------------------------------------------------------------------------------ costs


def measure_costs(folder: Path, *, jobs: int = WAITING) -> dict[str, float]:
    """What one sync without a change costs, and what a worker process does."""
    with ExitStack() as stack:
        fleet = _Fleet(folder, stack, solutions=20, odoos=20, latency=0.0)
        client = stack.enter_context(fleet.client())
        store = stack.enter_context(redis.Redis.from_url(fleet.settings.fbs_redis_url))
        figures = {f"beat_look_ms_{len(fleet.names)}": 1_000 * _median(lambda: _look(fleet.settings))}
        figures["beat_claim_ms"] = 1_000 * _claim(fleet, client)
        fleet.queue.empty()
        empty = _used(store)
        for number in range(jobs):
            client.sync(f"none{number}")
        figures["redis_bytes_waiting"] = (_used(store) - empty) / jobs
        fleet.queue.empty()
        with fleet.queue.workers(1, fleet.settings, processes=1) as pids, closing(connect(fleet.home)) as home:
            for name in fleet.names:
                client.sync(name).wait(60)  # imports, first connections
            empty, calls = _used(store), fleet.odoos.calls()
            process = _pool_process(pids[0])
            cpu, began = sum(process.cpu_times()[:2]), time.perf_counter()
            sessions, rounds, most = _sessions(home), 5, 0
            for _ in range(rounds):
                waiting = [client.sync(name) for name in fleet.names]
                while not waiting[-1].status().state.finished:
                    most = max(most, _connections(home))
                    time.sleep(0.05)
            done = rounds * len(fleet.names)
            seconds = time.perf_counter() - began
            figures["sync_jobs_per_second"] = done / seconds
            figures["sync_cpu_ms"] = 1_000 * (sum(process.cpu_times()[:2]) - cpu) / done
            figures["redis_bytes_done"] = (_used(store) - empty) / done
            made = fleet.odoos.calls()
            figures |= {
                f"calls_{name}": (made[name] - calls.get(name, 0)) / done
                for name in made
                if made[name] > calls.get(name, 0)
            }
            figures["worker_process_mb"] = process.memory_full_info().uss / 1e6
            parent = psutil.Process(pids[0])
            figures["worker_parent_mb"] = parent.memory_full_info().uss / 1e6
            figures["worker_rss_mb"] = (process.memory_info().rss + parent.memory_info().rss) / 1e6
            figures["postgres_connections"] = most
            figures["postgres_sessions"] = (_sessions(home) - sessions) / done
            figures["redis_connections"] = len(store.client_list()) - 2
    return figures


def _connections(home: Connection) -> int:
    """Open connections of workers."""
    return _number(home, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") - 1


def _sessions(home: Connection) -> int:
    """How many connections were ever made."""
    return _number(home, "SELECT sum(sessions) FROM pg_stat_database")


def _number(home: Connection, statement: str) -> int:
    with home, home.cursor() as cursor:
        cursor.execute(statement)
        return int((cursor.fetchone() or (0,))[0])


def _look(settings: Settings) -> None:
    """What beat does every five seconds, without a slot that is due."""
    with open_home(settings, read_only=False) as (_, store):
        store.all(*Kind)


def _claim(fleet: _Fleet, client: Client) -> float:
    """Seconds in which beat enqueues the sync of one solution that is due."""
    for name in fleet.names:
        client.set_schedule(name, sync_every=EVERY)
    times = []
    with open_home(fleet.settings, read_only=False) as (_, store):
        now = store.now()
        for each in store.all(Kind.SYNC):
            began = time.perf_counter()
            if store.claim(each, now=now, enqueue=lambda name=each.name: client.sync(name).id) is None:  # type: ignore[misc]
                raise RuntimeError(f"{each.name} cannot be claimed")
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _median(action: Callable[[], object], rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _used(store: Any) -> int:
    return int(store.info("memory")["used_memory_dataset"])


def _pool_process(parent: int) -> psutil.Process:
    """The process that runs the jobs of a worker with one."""
    for _ in range(100):
        with suppress(psutil.Error):
            children = psutil.Process(parent).children(recursive=True)
            if children:
                return children[-1]
        time.sleep(0.1)
    raise RuntimeError("the worker has no process")


# -------------------------------------------------------------------------------------------------------------- all


def run(
    parts: Sequence[str] = ("costs", "fleet"),
    *,
    solutions: int = SOLUTIONS,
    odoos: int = ODOOS,
    processes: int = PROCESSES,
    minutes: float = MINUTES,
) -> dict[str, Any]:
    """Measure.

    Args:
        parts: what to measure.
        solutions: how many there are.
        odoos: how many Odoos they share.
        processes: processes of workers, for all.
        minutes: of each of the two phases.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fbs-bench-") as name:
        if "costs" in parts:
            figures["costs"] = measure_costs(Path(name) / "costs")
        if "fleet" in parts:
            figures["fleet"] = measure_fleet(
                Path(name) / "fleet", solutions=solutions, odoos=odoos, processes=processes, minutes=minutes
            )
    return figures


def misses(figures: Mapping[str, Any]) -> list[str]:
    """Return what is not as it should be: jobs that failed, and solutions that a slow Odoo of others holds up."""
    fleet = figures.get("fleet", {})
    missed = [f"fleet, {phase}: {found['failed']} failed" for phase, found in fleet.items() if found["failed"]]
    if len(fleet) == 2:
        before, after = (found["behind_95"] for found in fleet.values())
        if after > 2 * before + 5:
            missed.append(f"fleet: {after:.1f} s behind (95 %) beside a slow Odoo, {before:.1f} s without")
    return missed


def main() -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="bench_fleet")
    parser.add_argument("parts", nargs="*", default=["costs", "fleet"])
    parser.add_argument("--solutions", type=int, default=SOLUTIONS)
    parser.add_argument("--odoos", type=int, default=ODOOS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    given = vars(parser.parse_args())
    figures = run(given.pop("parts"), **given)
    print(json.dumps(figures, indent=2))
    missed = misses(figures)
    print("\n".join(missed) or "as it should be")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
