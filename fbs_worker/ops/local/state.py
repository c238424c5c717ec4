"""State of the local stack: the file `stack.json` in FBS_HOME, written by `fbs up` and read by the other commands.

It contains secrets and is readable to its owner alone.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pydantic import SecretStr, TypeAdapter, ValidationError

from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.processes import ProcessRef

if TYPE_CHECKING:
    from fbs_worker.core.database_config import DatabaseConfig

_STATE: Final = "stack.json"
_SERVERS: Final = ("postgres", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One part of the stack.

    Attributes:
        name: `postgres`, `redis`, `worker`, `beat`, `flower` or `api`.
        address: its address, for a person; without a password.
        process: its main process; None for a configured server that `up` did not start.
        was_running: it was already running before this `up`.
    """

    name: str
    address: str
    process: ProcessRef | None
    was_running: bool = False

    @property
    def state(self) -> str:
        """How this `up` obtained it, for a person."""
        if self.process is None:
            return "not ours"
        return "ran already" if self.was_running else "started"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "place": self.address, "process": asdict(self.process) if self.process else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """A running stack.

    Attributes:
        home: its folder.
        redis_url: the URL of its Redis.
        database_url: the URL of its home database, by the socket of its own PostgreSQL.
        address_url: the URL of the same database for other programs, by an address.
        secret_keys: the keys that encrypt passwords.
        services: its parts.
        odoo: the Odoo of its worker, without credentials; empty if none is set.
        settings_digest: hash of the settings that the worker was started with.
        supervisor: the process that starts again what ended; None in the foreground.
    """

    home: Path
    redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    secret_keys: str = field(repr=False)
    address_url: str = field(default="", repr=False)
    services: tuple[Service, ...] = ()
    odoo: str = ""
    settings_digest: str = ""
    supervisor: ProcessRef | None = None

    @property
    def database(self) -> DatabaseConfig:
        """The home database."""
        from fbs_worker.core.database_config import DatabaseConfig

        return DatabaseConfig.from_url(self.database_url)

    def fill(self, settings: Settings) -> Settings:
        """The settings, with unset ones taken from this stack; see `effective_settings`."""
        from fbs_worker.core.database_config import DatabaseConfig

        update: dict[str, Any] = {}
        if not settings.fbs_redis_url:
            update["fbs_redis_url"] = self.redis_url
        if not settings.fbs_secret_keys.get_secret_value():
            update["fbs_secret_keys"] = SecretStr(self.secret_keys)
        if settings.fbs_database_url in {"", self.address_url} - {self.database_url}:  # the second by `fbs env`
            update["fbs_database_url"] = self.database_url
            if "fbs_default_database_host" not in settings.model_fields_set:
                update["fbs_default_database_host"] = self.database.host
                update["fbs_default_database_port"] = self.database.port
                update["fbs_default_database_user"] = settings.fbs_default_database_user or self.database.user
                if self.address_url:
                    update["fbs_postgres_port"] = DatabaseConfig.from_url(self.address_url).port
        return settings.model_copy(update=update)

    def service(self, name: str) -> Service | None:
        """The part of that name; None if it was not started."""
        return next((service for service in self.services if service.name == name), None)


def state_file(home: Path) -> Path:
    """The state file in a home folder."""
    return home / _STATE


def find_stack(home: Path) -> StackInfo | None:
    """Find the running stack of a folder.

    Args:
        home: the folder; see `Settings.home`.

    Returns:
        The stack; None if there is none, one of its servers has ended, or nothing of it runs.
    """
    info = read_stack(home)
    if info is None:
        return None
    alive = {service.name: service.process.alive for service in info.services if service.process}
    if not all(alive.get(server, True) for server in _SERVERS):
        return None
    supervised = info.supervisor is not None and info.supervisor.alive
    return info if supervised or any(alive.values()) else None


def effective_settings(settings: Settings) -> Settings:
    """The settings, with unset Redis, home database and keys taken from a running stack.

    A database server from the stack is also the default server of other databases.
    """
    info = find_stack(settings.home())
    return settings if info is None else info.fill(settings)


def database_url(config: DatabaseConfig) -> str:
    """The URL of a database, with its password; inverse of `DatabaseConfig.from_url`."""
    from fbs_worker.core.database_config import host_and_port

    user, password = quote(config.user, safe=""), quote(config.password.get_secret_value(), safe="")
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    options = {"host": config.host, **config.options} if config.uses_socket else config.options
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in options.items())
    place = f":{config.port}" if config.uses_socket else ",".join(map(host_and_port, config.servers))
    return f"postgresql://{login}{place}/{quote(config.name, safe='')}{'?' if query else ''}{query}"


def read_stack(home: Path) -> StackInfo | None:
    """Read the state file of a folder, whether the stack still runs or not; None if there is none of this version."""
    try:
        info = TypeAdapter(StackInfo).validate_json(state_file(home).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return replace(info, home=home, services=tuple(replace(each, was_running=True) for each in info.services))


def write_stack(info: StackInfo) -> None:
    """Write the state file of a stack."""
    write_private(state_file(info.home), TypeAdapter(StackInfo).dump_json(info, indent=2).decode() + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, readable to its owner alone from its creation."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.rename(path)
