"""The servers and the worker of one machine: what `fbs up` starts, and how other commands find it.

Everything lies in one folder, FBS_HOME: `postgres/` and `redis/` with their data, `worker.log`, `secret.key`, and
`stack.json`, which says what runs and how to reach it. All of it is readable to its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from fbs_worker import database, queue
from fbs_worker.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.errors import SettingsError
from fbs_worker.processes import ProcessRef, file_lock, signals_held
from fbs_worker.settings import Settings
from fbs_worker.solution import DatabaseConfig
from fbs_worker.vault import new_key
from fbs_worker.worker import WARM_SECONDS, WorkerProcess, settings_environment, stop_worker

HOME_DATABASE: Final = "fbs"
"""The database that `fbs up` makes in the PostgreSQL that it starts."""

_STATE: Final = "stack.json"
_HOME_HINT: Final = "Set FBS_HOME to a folder of yours."
_NO_OBSERVER: Final[Callable[[str], None]] = lambda _: None  # noqa: E731


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One part of the stack.

    Attributes:
        name: `postgres`, `redis` or `worker`.
        place: where it is, for a person; no password in it.
        process: its main process; None for a server that was there already and is not ours.
        was_running: it ran before this `up`.
    """

    name: str
    place: str
    process: ProcessRef | None
    was_running: bool = False

    @property
    def state(self) -> str:
        """For a person: what `up` had to do with it."""
        if self.process is None:
            return "not ours"
        return "ran already" if self.was_running else "started"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        process = self.process.to_dict() if self.process else None
        return {"name": self.name, "place": self.place, "process": process}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Service:
        """Back from `to_dict`."""
        process = ProcessRef.from_dict(values["process"]) if values["process"] else None
        return cls(name=values["name"], place=values["place"], process=process, was_running=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """A stack that runs.

    Attributes:
        home: its folder.
        redis_url: its queue.
        database_url: its home database.
        secret_keys: what passwords are sealed with.
        services: its parts.
        odoo: the Odoo that the worker reads, without credentials; empty when none is set.
        settings_mark: tells whether the worker has the settings of now.
    """

    home: Path
    redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    secret_keys: str = field(repr=False)
    services: tuple[Service, ...]
    odoo: str = ""
    settings_mark: str = ""

    @property
    def database(self) -> DatabaseConfig:
        """The home database."""
        return DatabaseConfig.from_url(self.database_url)

    def filled(self, settings: Settings) -> Settings:
        """The settings with what they lack taken from this stack; see `effective_settings`."""
        return _filled(settings, self.redis_url, self.database_url, self.secret_keys)

    def service(self, name: str) -> Service | None:
        """The part of that name, if it was started."""
        return next((service for service in self.services if service.name == name), None)


def make_home(settings: Settings) -> Path:
    """The folder of these settings, made where it is missing, readable to its owner alone.

    Raises:
        SettingsError: it cannot be made, or nothing can be written there.
    """
    home = settings.home()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise SettingsError(_no_home(home, exc.strerror), hint=_HOME_HINT) from exc
    if not os.access(home, os.W_OK | os.X_OK):
        raise SettingsError(_no_home(home, "it is not writable"), hint=_HOME_HINT)
    return home


def find_stack(home: Path) -> StackInfo | None:
    """The stack of this folder, if it runs; None when there is none, or what `fbs up` started is gone.

    Args:
        home: the folder; see `Settings.home`.
    """
    info = _read(home)
    if info is None or any(service.process and not service.process.alive for service in info.services):
        return None
    return info


def effective_settings(settings: Settings) -> Settings:
    """The settings with Redis, home database and keys of a running stack where they are not set.

    Where the database comes from the stack, it also is the default place of other databases.
    """
    if settings.fbs_redis_url and settings.fbs_database_url and settings.fbs_secret_keys.get_secret_value():
        return settings
    info = find_stack(settings.home())
    return settings if info is None else info.filled(settings)


def up(
    settings: Settings, *, concurrency: int = 2, tell: Callable[[str], None] = _NO_OBSERVER
) -> tuple[StackInfo, WorkerProcess | None]:
    """Start what is not running: PostgreSQL and Redis where none is set, and a worker.

    Args:
        settings: where FBS_REDIS_URL or FBS_DATABASE_URL is set, that server is used and must answer.
        concurrency: how many jobs the worker runs at a time.
        tell: is told in a word what is being started.

    Returns:
        The running stack, and the worker where this call started it.

    Raises:
        FBSError: a part did not come up. What this call started is stopped again then.
    """
    home = make_home(settings)
    with file_lock(home / "stack.lock"), _undone_on_failure() as undo:
        tell("postgres")
        postgres, database_url = _postgres(settings, home, undo)
        tell("redis")
        redis, redis_url = _redis(settings, home, undo)
        keys = settings.fbs_secret_keys.get_secret_value() or _secret_key(home)
        effective = _filled(settings, redis_url, database_url, keys)
        mark, odoo = _mark(effective), effective.odoo_url.rpartition("@")[2]
        before = _read(home)
        worker = before.service("worker") if before else None
        if (
            before
            and worker
            and worker.process
            and (before.redis_url, before.database_url) != (redis_url, database_url)
        ):
            stop_worker(worker.process)  # it talks to servers that are gone
        started = None
        if before is None or worker is None or worker.process is None or not worker.process.alive:
            tell("worker")
            with signals_held():
                started = WorkerProcess.spawn(effective, log=home / "worker.log", concurrency=concurrency)
                undo.append(started.stop)
            started.wait_until_ready()
            worker = Service(name="worker", place=str(home / "worker.log"), process=started.process)
        else:
            mark, odoo = before.settings_mark, before.odoo
        info = StackInfo(
            home=home,
            redis_url=redis_url,
            database_url=database_url,
            secret_keys=keys,
            services=(postgres, redis, worker),
            odoo=odoo,
            settings_mark=mark,
        )
        _write(info)
        return info, started


def down(home: Path, *, seconds: float = WARM_SECONDS) -> list[str]:
    """Stop what `up` started in this folder, and nothing else: the worker first, once its jobs are done.

    Args:
        home: the folder; see `Settings.home`.
        seconds: how long the worker may finish its jobs before they are cut off (they run again after the next start).

    Returns:
        The names of what was stopped.
    """
    if not home.exists():
        return []
    stopped = []
    with signals_held(), file_lock(home / "stack.lock"):
        info = _read(home)
        worker = info.service("worker") if info else None
        if worker and worker.process:
            stopped += ["worker"] if worker.process.alive else []
            stop_worker(worker.process, seconds=seconds)
        for name, kind in (("redis", EmbeddedRedis), ("postgres", EmbeddedPostgres)):
            server = kind.find(home / name)
            if server is not None:
                server.stop()
                stopped.append(name)
        (home / _STATE).unlink(missing_ok=True)
    return stopped


def has_current_settings(info: StackInfo, settings: Settings) -> bool:
    """Whether the stack's worker was started with these settings."""
    return info.settings_mark == _mark(info.filled(settings))


def database_url(config: DatabaseConfig) -> str:
    """The URL that `DatabaseConfig.from_url` reads back. It holds the password."""
    user, password = quote(config.user, safe=""), quote(config.password.get_secret_value(), safe="")
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    name = quote(config.name, safe="")
    if config.uses_socket:
        return f"postgresql://{login}:{config.port}/{name}?host={quote(config.host, safe='')}"
    return f"postgresql://{login}{config.host}:{config.port}/{name}"


@contextmanager
def _undone_on_failure() -> Iterator[list[Callable[[], None]]]:
    """Runs what was noted, the latest first, if the block fails or is interrupted."""
    undo: list[Callable[[], None]] = []
    try:
        yield undo
    except BaseException:
        with signals_held():
            for step in reversed(undo):
                step()
        raise


def _no_home(home: Path, reason: str | None) -> str:
    return f"The folder {home} (FBS_HOME) cannot be used: {reason}."


def _postgres(settings: Settings, home: Path, undo: list[Callable[[], None]]) -> tuple[Service, str]:
    if settings.fbs_database_url:
        config = DatabaseConfig.from_url(settings.fbs_database_url)
        database.connect(config).close()
        return Service(
            name="postgres", place=config.address(), process=None, was_running=True
        ), settings.fbs_database_url
    with signals_held():
        server = EmbeddedPostgres.start(home / "postgres")
        if not server.was_running:
            undo.append(server.stop)
    server.create_database(HOME_DATABASE)
    config = server.config(HOME_DATABASE)
    place = config.address()
    service = Service(name="postgres", place=place, process=server.process, was_running=server.was_running)
    return service, database_url(config)


def _redis(settings: Settings, home: Path, undo: list[Callable[[], None]]) -> tuple[Service, str]:
    if settings.fbs_redis_url:
        place = queue.address(queue.check_url(settings.fbs_redis_url))
        with queue.errors_of(place), queue.connect(settings.fbs_redis_url) as client:
            client.ping()
        return Service(name="redis", place=place, process=None, was_running=True), settings.fbs_redis_url
    with signals_held():
        server = EmbeddedRedis.start(home / "redis")
        if not server.was_running:
            undo.append(server.stop)
    place = queue.address(server.url)
    return Service(name="redis", place=place, process=server.process, was_running=server.was_running), server.url


def _secret_key(home: Path) -> str:
    """The key of this folder; it outlives `fbs down`, for what was sealed with it does too."""
    path = home / "secret.key"
    if not path.exists():
        _write_private(path, new_key() + "\n")
    return path.read_text().strip()


def _filled(settings: Settings, redis_url: str, home_database_url: str, secret_keys: str) -> Settings:
    update: dict[str, Any] = {}
    if not settings.fbs_redis_url:
        update["fbs_redis_url"] = redis_url
    if not settings.fbs_secret_keys.get_secret_value():
        update["fbs_secret_keys"] = SecretStr(secret_keys)
    if not settings.fbs_database_url:
        update["fbs_database_url"] = home_database_url
        if "fbs_default_database_host" not in settings.model_fields_set:
            place = DatabaseConfig.from_url(home_database_url)
            update["fbs_default_database_host"] = place.host
            update["fbs_default_database_port"] = place.port
            update["fbs_default_database_user"] = settings.fbs_default_database_user or place.user
    return settings.model_copy(update=update)


def _mark(settings: Settings) -> str:
    text = json.dumps(settings_environment(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(home: Path) -> StackInfo | None:
    try:
        told = json.loads((home / _STATE).read_text())
    except FileNotFoundError:
        return None
    return StackInfo(
        home=home,
        redis_url=told["redis_url"],
        database_url=told["database_url"],
        secret_keys=told["secret_keys"],
        services=tuple(Service.from_dict(values) for values in told["services"]),
        odoo=told.get("odoo", ""),  # a stack of an earlier version may still run
        settings_mark=told["settings_mark"],
    )


def _write(info: StackInfo) -> None:
    told = {
        "redis_url": info.redis_url,
        "database_url": info.database_url,
        "secret_keys": info.secret_keys,
        "services": [service.to_dict() for service in info.services],
        "odoo": info.odoo,
        "settings_mark": info.settings_mark,
    }
    _write_private(info.home / _STATE, json.dumps(told, indent=2) + "\n")


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable to its owner alone from the first moment."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)
