"""Fleet of the soak test: workers, PostgreSQL, Redis and an Odoo, and the faults that can be injected."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import redis
from cryptography.fernet import Fernet
from pydantic import SecretStr

from bench.soak_shadow import dump_contents
from bench.soak_work import ANCHOR, COPIED, HOME, TARGET, Work
from fbs_worker.client.client import Client, JobHandle
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.config import QUEUES
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.ops.local.state import database_url
from tests.support.copied_things import Things, set_up
from tests.support.fault_worker import LOST_AFTER, FaultWorker
from tests.support.held_odoo import HeldOdoo
from tests.support.leftovers import left_in_redis, sessions
from tests.support.odoo_faults import Misbehaviour
from tests.support.odoo_records import RecordsOdoo
from tests.support.restarts import restart_postgres, start_redis, stop_redis
from tests.support.solutions import RECORDING, inline, run

WORKERS: Final = 2
AT_ONCE: Final = 6.0
RECORDS: Final = 1_500
CHANGES: Final = 100
"""Of records, before each sync."""

_RECORDED: Final = f"recording:{RECORDING.name}"

_STUMBLES: Final = (
    Misbehaviour.BAD_GATEWAY,
    Misbehaviour.GATEWAY_TIMEOUT,
    Misbehaviour.CLOSE_WITHOUT_ANSWER,
    Misbehaviour.CUT_SHORT,
    Misbehaviour.POSTGRES_DOWN,
)

_POISON: Final = ("[]", "5", "{", '{"headers": {"task": {"a": 1}}, "body": "", "properties": {}}')


class Violation(Exception):
    """An invariant does not hold."""


class Fleet:
    """Everything that runs.

    Args:
        folder: for all of its files.
        chance: the source of randomness.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.postgres = EmbeddedPostgres.start(folder / "postgres")
        self._redis = EmbeddedRedis.start(folder / "redis")
        self._memory = RecordsOdoo(behind=RecordingTransport(RECORDING))
        self._things = Things(self._memory, chance)
        self._things.fill(RECORDS)
        self.odoo = HeldOdoo(self._memory).__enter__()
        self.settings = Settings(
            odoo_url=self.odoo.url,
            odoo_db=self.odoo.database,
            odoo_user="admin",
            odoo_password=SecretStr("admin-password"),
            odoo_timeout=2.0,
            fbs_redis_url=self._redis.url,
            fbs_database_url=database_url(self.home),
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
            fbs_home=folder / "home",
            fbs_odoo_pause=1.0,
            fbs_sync_sweep_every=0,
        )
        for name in (HOME, TARGET):
            self.postgres.create_database(name)
        anchor = Work(action="setup", place=ANCHOR, read=False)
        inline("setup", anchor.arguments(self.target), self.settings)
        set_up(self.settings, self.target, COPIED.name, table_prefix=COPIED.table_prefix)
        self.client = Client(settings=self.settings)
        self.client._app.__dict__["jobs"] = JobStore(
            self._redis.url, ttl=self.settings.fbs_job_ttl, lost_after=LOST_AFTER
        )
        self.workers: list[FaultWorker] = []
        self._begun = 0
        self.restore_workers()

    @property
    def home(self) -> DatabaseConfig:
        """The home database."""
        return self.postgres.config(HOME)

    @property
    def target(self) -> DatabaseConfig:
        """The solutions' database."""
        return self.postgres.config(TARGET)

    def restore_workers(self) -> None:
        """Replace killed workers."""
        for worker in self.workers:
            # one that was just starting ends where Redis is away
            if not worker.alive and not worker.killed and " ready." in worker.log.read_text():
                raise Violation(f"A worker has ended by itself: {worker.log.name}")
        self.workers = [worker for worker in self.workers if worker.alive]
        while len(self.workers) < WORKERS:
            self._begun += 1
            log = self.logs / f"worker-{self._begun}"
            self.workers.append(FaultWorker(self.settings, log=log, concurrency=2, module="records_worker"))

    def enqueue(self, work: Work) -> JobHandle:
        """Enqueue a job."""
        return work.enqueue(self.client, self.target)

    def tamper(self, work: Work) -> None:
        """Change a place's tables."""
        run(self.target, *work.statements())

    def change_records(self) -> None:
        """Change some records of Odoo."""
        with self.odoo.lock:
            self._memory.log.clear()
            self._things.change(CHANGES)

    def check_records(self, what: str) -> None:
        """Check that the records are copied.

        Args:
            what: what was done before.

        Raises:
            Violation: they are not.
        """
        if different := self._things.differences(self.target):
            raise Violation(f"Records are not copied ({what}):\n" + "\n".join(different[:20]))

    def held(self) -> Mapping[str, object]:
        """Return what jobs still hold after their end (locks, messages, sessions); empty if nothing."""
        found = {"Redis": left_in_redis(self._redis.url), "PostgreSQL": sessions(self.postgres, [HOME, TARGET])}
        return {name: held for name, held in found.items() if held}

    def contents(self) -> str:
        """Return the databases' contents; see `bench.soak_shadow.dump_contents`."""
        held = dump_contents(self.home, self.target)
        return held.replace(str(self.postgres.socket_folder), "SOCKETS").replace(self.odoo.url, "ODOO")

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.stop()
        self.client.close()
        self.odoo.__exit__()
        self._redis.stop()
        self.postgres.stop()

    @property
    def faults(self) -> Mapping[str, Callable[[Sequence[JobHandle]], None]]:
        """The faults by name; each takes the enqueued jobs, and ends the fault before it returns."""
        return {
            "kill main": self._kill_main,
            "kill child": self._kill_child,
            "freeze": self._freeze,
            "Redis restart": self._restart_redis,
            "Redis failover": self._fail_over,
            "Redis full": self._fill_redis,
            "poison": self._poison,
            "PostgreSQL restart": self._restart_postgres,
            "Odoo stumbles": self._odoo_stumbles,
            "Odoo hangs": self._odoo_hangs,
            "Odoo away": self._odoo_away,
            "cancel": self._cancel,
            "second delivery": self._deliver_again,
        }

    def _worker(self) -> FaultWorker:
        self.restore_workers()
        return self.chance.choice(self.workers)

    def _kill_main(self, _jobs: Sequence[JobHandle]) -> None:
        self._worker().kill_main()
        self.restore_workers()

    def _kill_child(self, _jobs: Sequence[JobHandle]) -> None:
        worker = self._worker()
        children = worker.children()
        if children:  # else it is still starting
            self.chance.choice(children).kill()

    def _freeze(self, _jobs: Sequence[JobHandle]) -> None:
        worker = self._worker()
        worker.freeze()
        try:
            self._let_pass(0.5, LOST_AFTER * 1.5)
        finally:
            worker.thaw()

    def _restart_redis(self, _jobs: Sequence[JobHandle]) -> None:
        stop_redis(self._redis, kill=self.chance.random() < 0.5)
        try:
            if self.chance.random() < 0.3:
                self._enqueue_without_redis()
            else:
                self._let_pass(0.0, 1.0)
        finally:
            self._redis = start_redis(self._redis.folder)

    def _fail_over(self, _jobs: Sequence[JobHandle]) -> None:
        with redis.Redis.from_url(self._redis.url) as raw:
            raw.replicaof("127.0.0.1", 1)
            try:
                self._let_pass(0.0, 3.0)
            finally:
                raw.replicaof("NO", "ONE")

    def _fill_redis(self, _jobs: Sequence[JobHandle]) -> None:
        with redis.Redis.from_url(self._redis.url) as raw:
            raw.config_set("maxmemory", 1)
            try:
                self._let_pass(0.0, 3.0)
            finally:
                raw.config_set("maxmemory", 0)

    def _poison(self, _jobs: Sequence[JobHandle]) -> None:
        with redis.Redis.from_url(self._redis.url) as raw:
            raw.lpush(self.chance.choice(QUEUES), self.chance.choice(_POISON))

    def _enqueue_without_redis(self) -> None:
        began = time.monotonic()
        try:
            self.client.refresh(ANCHOR.name)
        except QueueUnreachable:
            if time.monotonic() - began > AT_ONCE:
                raise Violation("It took long to say that Redis is away.") from None
        else:
            raise Violation("A job was enqueued while Redis was away.")

    def _restart_postgres(self, _jobs: Sequence[JobHandle]) -> None:
        self.postgres = restart_postgres(self.postgres, kill=self.chance.random() < 0.5)

    def _odoo_stumbles(self, _jobs: Sequence[JobHandle]) -> None:
        self.odoo.misbehave(self.chance.choice(_STUMBLES), times=self.chance.randint(1, 3))

    def _odoo_hangs(self, _jobs: Sequence[JobHandle]) -> None:
        with self.odoo.hold(lambda *_: True):
            self._let_pass(0.5, 3.0)

    def _odoo_away(self, _jobs: Sequence[JobHandle]) -> None:
        with self.odoo.away():
            self._let_pass(0.2, 2.0)

    def _cancel(self, jobs: Sequence[JobHandle]) -> None:
        self.chance.choice(jobs).cancel()

    def _deliver_again(self, _jobs: Sequence[JobHandle]) -> None:
        with redis.Redis.from_url(self._redis.url) as raw:
            held: Any = raw.hvals("unacked")
            if held:
                message, _exchange, queue = json.loads(self.chance.choice(held))
                raw.rpush(queue, json.dumps(message))

    def _let_pass(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))


class Shadow:
    """The process that runs the same jobs without faults.

    Args:
        fleet: whose.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._postgres = EmbeddedPostgres.start(fleet.folder / "shadow", durable=False)
        for name in (HOME, TARGET):
            self._postgres.create_database(name)
        settings = fleet.settings.model_copy(
            update={"odoo_url": f"recording:{RECORDING}", "fbs_database_url": database_url(self._postgres.config(HOME))}
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.soak_shadow"],
            env={"PATH": "/usr/bin:/bin", **settings_environment(settings)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.do(Work(action="setup", place=ANCHOR, read=False))
        self.do(Work(action="setup", place=COPIED, read=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._postgres.stop()

    def do(self, work: Work) -> None:
        """Do this next."""
        if self._process.stdin is None or self._process.poll() is not None:
            raise Violation(f"The undisturbed run failed before {work}.")
        self._process.stdin.write(json.dumps(work.to_dict()) + "\n")
        self._process.stdin.flush()

    def contents(self) -> str:
        """What its databases hold when all is done."""
        held, _ = self._process.communicate()
        if self._process.returncode:
            raise Violation("The undisturbed run failed.")
        return held.rstrip("\n").replace(str(self._postgres.socket_folder), "SOCKETS").replace(_RECORDED, "ODOO")
