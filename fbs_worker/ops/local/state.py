"""What runs on this machine, and how to reach it: the file `stack.json` in FBS_HOME, which `fbs up` writes.

Other commands find the stack by it. It holds secrets, so it is readable to its owner alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.processes import ProcessRef

_STATE: Final = "stack.json"
_COMFORTS: Final = ("beat", "flower", "api")
"""Jobs run without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One part of the stack.

    Attributes:
        name: `postgres`, `redis`, `worker`, `beat`, `flower` or `api`.
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
        return filled_settings(settings, self.redis_url, self.database_url, self.secret_keys)

    def service(self, name: str) -> Service | None:
        """The part of that name, if it was started."""
        return next((service for service in self.services if service.name == name), None)


def state_file(home: Path) -> Path:
    """The file of a folder."""
    return home / _STATE


def find_stack(home: Path) -> StackInfo | None:
    """The stack of this folder, if it runs; None when there is none, or a part that jobs need is gone.

    Args:
        home: the folder; see `Settings.home`.
    """
    info = read_stack(home)
    if info is None:
        return None
    needed = [service for service in info.services if service.name not in _COMFORTS]
    return None if any(service.process and not service.process.alive for service in needed) else info


def effective_settings(settings: Settings) -> Settings:
    """The settings with Redis, home database and keys of a running stack where they are not set.

    Where the database comes from the stack, it also is the default place of other databases.
    """
    if settings.fbs_redis_url and settings.fbs_database_url and settings.fbs_secret_keys.get_secret_value():
        return settings
    info = find_stack(settings.home())
    return settings if info is None else info.filled(settings)


def database_url(config: DatabaseConfig) -> str:
    """The URL that `DatabaseConfig.from_url` reads back. It holds the password."""
    user, password = quote(config.user, safe=""), quote(config.password.get_secret_value(), safe="")
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    name = quote(config.name, safe="")
    if config.uses_socket:
        return f"postgresql://{login}:{config.port}/{name}?host={quote(config.host, safe='')}"
    return f"postgresql://{login}{config.host}:{config.port}/{name}"


def filled_settings(settings: Settings, redis_url: str, home_database_url: str, secret_keys: str) -> Settings:
    """The settings, what they lack taken from here.

    Args:
        settings: what was set.
        redis_url: the queue.
        home_database_url: the home database; its server is the default place of other databases, too.
        secret_keys: what passwords are sealed with.
    """
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


def read_stack(home: Path) -> StackInfo | None:
    """What `fbs up` wrote in this folder, whether it still runs or not."""
    try:
        told = json.loads(state_file(home).read_text())
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


def write_stack(info: StackInfo) -> None:
    """Write down what runs, for `read_stack`."""
    told = {
        "redis_url": info.redis_url,
        "database_url": info.database_url,
        "secret_keys": info.secret_keys,
        "services": [service.to_dict() for service in info.services],
        "odoo": info.odoo,
        "settings_mark": info.settings_mark,
    }
    write_private(state_file(info.home), json.dumps(told, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable to its owner alone from the first moment."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)
