"""A stage for faults: an Odoo, a home database and a solution's, set to what they were before each job, as often as needed.

The databases are copied from templates and always bear the same names, so that what they hold can be compared as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import redis
from cryptography.fernet import Fernet
from psycopg2 import sql
from pydantic import SecretStr

from fbs_worker.client.client import Client, JobHandle
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import database_url
from tests.integration.test_refresh_task import make_it_look_changed
from tests.support.fault_worker import LOST_AFTER, FaultWorker
from tests.support.held_odoo import HeldOdoo
from tests.support.leftovers import left_in_redis, sessions
from tests.support.servers import create_database
from tests.support.solutions import config_of, contents, inline
from tests.support.waiting import PATIENCE, until

HOME: Final = "fault_home"
TARGET: Final = "fault_target"

_BEFORE: Final = {"discover": "bare", "setup": "bare", "refresh": "changed", "look": "there", "drop": "there"}


@dataclass(kw_only=True)
class Stage:
    """The stage.

    Attributes:
        postgres: where the databases are.
        redis_url: where the jobs are.
        odoo: what is read.
        folder: for the workers' logs.
        more: further settings.
        module: what the workers run; see `FaultWorker`.
        settings: of workers and clients.
    """

    postgres: EmbeddedPostgres
    redis_url: str
    odoo: HeldOdoo
    folder: Path
    more: Mapping[str, Any] = field(default_factory=dict)
    module: str = "fault_worker"
    _templates: dict[str, bool] = field(default_factory=dict)
    _expected: dict[str, Any] = field(default_factory=dict)
    _workers: list[FaultWorker] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        values: dict[str, Any] = {
            "odoo_url": self.odoo.url,
            "odoo_db": self.odoo.database,
            "odoo_user": "admin",
            "odoo_password": SecretStr("admin-password"),
            "odoo_timeout": 60,
            "fbs_redis_url": self.redis_url,
            "fbs_database_url": database_url(self.postgres.config(HOME)),
            "fbs_secret_keys": SecretStr(Fernet.generate_key().decode()),
            "fbs_home": self.folder / "home",
            "fbs_business_prefix": "hr_",
        }
        return Settings(**{**values, **self.more})

    @cached_property
    def client(self) -> Client:
        """Enqueues; sees a job as lost when the workers do."""
        client = Client(settings=self.settings)
        jobs = JobStore(self.redis_url, ttl=self.settings.fbs_job_ttl, lost_after=LOST_AFTER)
        client._app.__dict__["jobs"] = jobs
        return client

    @property
    def home(self) -> DatabaseConfig:
        """The home database."""
        return self.postgres.config(HOME)

    @property
    def target(self) -> DatabaseConfig:
        """The solution's database."""
        return self.postgres.config(TARGET)

    def close(self) -> None:
        """End what was started, and let the databases go."""
        self.stop_workers()
        if "client" in self.__dict__:
            self.client.close()
        for name in [*self._templates, HOME, TARGET]:
            self.postgres.drop_database(name)

    # ------------------------------------------------------------------------------------------------------ databases

    def begin(self, action: str) -> None:
        """Set the databases to what they are before a job of this action.

        Args:
            action: `discover`, `setup`, `refresh` (of what has changed), `look` (a refresh of what has not), `drop`.
        """
        self._begin(_BEFORE[action])

    def expected(self, action: str) -> Any:
        """What both databases hold after that job, undisturbed; the databases are at the job's beginning afterwards."""
        if action not in self._expected:
            self.begin(action)
            inline("refresh" if action == "look" else action, self.arguments(action), self.settings)
            self._expected[action] = self.contents()
        self.begin(action)
        return self._expected[action]

    def contents(self) -> Any:
        """What both databases hold."""
        return {"home": contents(self.home), "target": contents(self.target)}

    def arguments(self, action: str) -> dict[str, Any]:
        """The keyword arguments of the action's task, plain."""
        config = config_of(self.target, mirror=["hr.job"], sync=False)
        match action:
            case "discover":
                return {"domain": "hr", "database_config": config["database_config"]}
            case "setup":
                return config
            case "refresh":
                return {"solution_name": "shop", "full": True}
            case _:
                return {"solution_name": "shop"}

    def enqueue(self, action: str) -> JobHandle:
        """Enqueue a job of the action."""
        given = self.arguments(action)
        match action:
            case "discover":
                return self.client.discover(**given)
            case "setup":
                return self.client.setup(given)
            case "refresh" | "look":
                return self.client.refresh(**given)
            case _:
                return self.client.drop(**given)

    def _begin(self, prepared: str) -> None:
        self._sweep()
        if prepared not in self._templates:
            self._prepare(prepared)
        for name in (HOME, TARGET):
            self.postgres.drop_database(name)
            create_database(self.postgres, name, template=f"{name}_{prepared}")

    def _prepare(self, prepared: str) -> None:
        """Make the templates; a further solution is in them, so that the system tables are there and must stay."""
        if prepared == "bare":
            for name in (HOME, TARGET):
                create_database(self.postgres, name)
            other = config_of(self.target, "other", domain="generic", business_prefix="other_")
            inline("setup", {**other, "refresh_discoveries": False}, self.settings)
        else:
            self._begin("bare")
            inline("setup", self.arguments("setup"), self.settings)
            if prepared == "changed":
                make_it_look_changed(self.target)
        for name in (HOME, TARGET):
            self._rename(name, f"{name}_{prepared}")
            self._templates[f"{name}_{prepared}"] = True
        self._templates[prepared] = True

    def _rename(self, name: str, new: str) -> None:
        with closing(connect(self.postgres.config())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (name, new))))

    # -------------------------------------------------------------------------------------------------------- workers

    def worker(self, *, concurrency: int = 1) -> FaultWorker:
        """A worker of its own."""
        log = self.folder / "workers.log"
        worker = FaultWorker(self.settings, log=log, concurrency=concurrency, module=self.module)
        self._workers.append(worker)
        return worker

    def some_worker(self) -> FaultWorker:
        """A worker that runs, whichever."""
        return next((worker for worker in self._workers if worker.alive), None) or self.worker()

    def some_worker_ready(self) -> FaultWorker:
        """One that has shown that it takes jobs."""
        worker = self.some_worker()
        probe = self.client.discover(domain="generic", discovery_types=["module"])
        assert self.finished(probe).state is JobState.SUCCEEDED
        return worker

    def stop_workers(self) -> None:
        """End them all."""
        while self._workers:
            self._workers.pop().stop()

    # ----------------------------------------------------------------------------------------------------- what is so

    def finished(self, job: JobHandle, *, seconds: float = PATIENCE) -> JobRecord:
        """Wait for a job's end, lost or not in between."""
        until(lambda: job.status().state.finished, lambda: (job.status(), self._words()), seconds=seconds)
        return job.status()

    def assert_done_once(self, action: str, job: JobHandle, *, attempts: int | None = None) -> None:
        """The job comes to its end, and all is as if nothing had disturbed it."""
        record = self.finished(job)
        assert record.state is JobState.SUCCEEDED, (record, self._words())
        assert attempts in (None, record.attempts), (record, self._words())
        self.assert_idle()
        assert self.contents() == self._expected[action]

    def assert_idle(self) -> None:
        """No job holds anything any more: no lock, no session, no message."""
        until(lambda: not self._sessions(), self._sessions)
        until(lambda: not left_in_redis(self.redis_url), lambda: (left_in_redis(self.redis_url), self._words()))

    def _sweep(self) -> None:
        """What a test that failed has left is not the next one's trouble."""
        if left_in_redis(self.redis_url):
            for worker in self._workers:
                worker.kill_main()
            with redis.Redis.from_url(self.redis_url) as raw:
                raw.flushdb()

    def _sessions(self) -> list[tuple[Any, ...]]:
        return sessions(self.postgres, [HOME, TARGET])

    def _words(self) -> str:
        log = self.folder / "workers.log"
        return log.read_text(errors="replace")[-6000:] if log.exists() else ""
