"""A stage for the HTTP API: the application in this process, a worker with the recorded Odoo, and a solution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.fernet import Fernet
from fastapi import FastAPI
from pydantic import SecretStr

from fbs_worker.client.client import Client
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.programs import Program
from fbs_worker.ops.local.state import database_url
from fbs_worker.web.app import create_app
from tests.support.asgi import Asking
from tests.support.servers import fresh_database, redis_database
from tests.support.solutions import config_of, few_models

SHOP: Final = "shop"
"""A solution of the domain hr, with what the recorded Odoo has."""


@dataclass(frozen=True, kw_only=True)
class ApiStage:
    """The stage.

    Attributes:
        settings: of the worker and of the application, which asks for no token.
        app: the application.
        asking: someone on this machine who asks it.
        client: enqueues without it.
        target: the database of `SHOP`.
    """

    settings: Settings
    app: FastAPI
    asking: Asking
    client: Client
    target: DatabaseConfig

    def place(self, database: DatabaseConfig) -> dict[str, Any]:
        """A database as callers name it."""
        return database.model_dump(exclude={"password"})


@contextmanager
def open_stage(postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, folder: Path) -> Iterator[ApiStage]:
    """Set the stage up, and clear it away."""
    with (
        redis_database(redis_server.url) as redis_url,
        fresh_database(postgres) as home,
        fresh_database(postgres) as target,
    ):
        settings = Settings(
            odoo_url=f"recording:{few_models()}",
            fbs_redis_url=redis_url,
            fbs_database_url=database_url(home),
            fbs_secret_keys=SecretStr(Fernet.generate_key().decode()),
            fbs_home=folder / "api-home",
            fbs_api_rate=0,
        )
        with (
            Program.start("worker", "--concurrency=2", settings=settings, log=folder / "api-worker.log"),
            Client(settings=settings) as client,
        ):
            client.setup(config_of(target, SHOP, business_prefix="hr_")).wait(120)
            app = create_app(settings)
            try:
                yield ApiStage(settings=settings, app=app, asking=Asking(app=app), client=client, target=target)
            finally:
                app.state.databases.close()
                app.state.client.close()
                app.state.idempotency.close()
