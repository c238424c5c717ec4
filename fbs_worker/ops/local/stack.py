"""Local stack: start (`fbs up`) and stop (`fbs down`) the servers and programs of one machine.

All files are in one folder, FBS_HOME: `postgres/` and `redis/` with their data, their ports, the programs' logs,
`secret.key`, the passwords of PostgreSQL and the dashboard, and `stack.json`, the state of the running stack. They are
readable to their owner alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from fbs_worker.core import postgres as database
from fbs_worker.core import redis as queue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, listener_of, url_of
from fbs_worker.core.vault import new_key
from fbs_worker.jobs.config import CELERY_QUEUE, QUEUES
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.ports import choose_ports, start_on
from fbs_worker.ops.local.processes import ProcessRef, file_lock, signals_deferred
from fbs_worker.ops.local.programs import WARM_SECONDS, Program, settings_environment, stop_program
from fbs_worker.ops.local.state import (
    Service,
    StackInfo,
    database_url,
    read_stack,
    state_file,
    write_private,
    write_stack,
)

HOME_DATABASE: Final = "fbs"
"""The database that `fbs up` creates in the embedded PostgreSQL."""

PROGRAMS: Final = ("worker", "beat", "flower", "api")
"""The `fbs` programs in the order of their start; they are stopped in reverse order."""

REQUIRED_MODULES: Final = {"flower": ("flower",), "api": ("fastapi", "uvicorn", "jinja2", "python_multipart")}
"""Modules of a program that are installed by the extra of the same name."""

_LINKS: Final = {"flower": "fbs_flower_url", "api": "fbs_pages_url"}
"""Programs with pages, and the setting of their URL."""

_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared
"""Addresses to listen on that no browser can open."""

_NOT_READ: Final = ("FBS_POSTGRES_PORT", "FBS_REDIS_PORT")
"""Settings of `fbs up` alone: the worker has the URLs."""

_PGPASS: Final = "pgpass"
_LAST_URL: Final = "postgres.url"
_HOME_HINT: Final = "Set FBS_HOME to a folder that you can write to."
_IGNORE: Final[Callable[[str], None]] = lambda _: None  # noqa: E731


def make_home(settings: Settings) -> Path:
    """The home folder of these settings, created if missing, readable to its owner alone.

    Raises:
        SettingsError: the folder cannot be created or is not writable.
    """
    home = settings.home()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise SettingsError(_no_home(home, exc.strerror), hint=_HOME_HINT) from exc
    if not os.access(home, os.W_OK | os.X_OK):
        raise SettingsError(_no_home(home, "it is not writable"), hint=_HOME_HINT)
    return home


def up(
    settings: Settings,
    *,
    concurrency: int = 2,
    programs: Sequence[str] = PROGRAMS,
    on_start: Callable[[str], None] = _IGNORE,
    supervised: bool = False,
) -> tuple[StackInfo, list[Program]]:
    """Start the missing parts: embedded PostgreSQL and Redis unless configured, and the `fbs` programs.

    Args:
        settings: if FBS_REDIS_URL or FBS_DATABASE_URL is set, that server is used and must answer.
        concurrency: how many jobs the worker runs at a time.
        programs: a selection of `PROGRAMS`; one whose extra is not installed is skipped.
        on_start: called with the name of each part before it is started.
        supervised: start a process that starts again what ends; see `fbs_worker.ops.local.supervisor`.

    Returns:
        The running stack, and the programs that this call started.

    Raises:
        FBSError: a part failed to start; the parts started by this call were stopped again.
    """
    home = make_home(settings)
    settings = _without_own_servers(settings)
    with file_lock(home / "stack.lock"), _rollback_on_failure() as undo, ExitStack() as opened:
        postgres_ports = [] if settings.fbs_database_url else choose_ports(EmbeddedPostgres, settings, home)
        redis_ports = [] if settings.fbs_redis_url else choose_ports(EmbeddedRedis, settings, home)
        on_start("postgres")
        postgres, home_database_url, address_url = _postgres(settings, home, postgres_ports, undo)
        on_start("redis")
        redis, redis_url = _redis(settings, home, redis_ports, undo)
        keys = settings.fbs_secret_keys.get_secret_value() or _persistent_secret(home / "secret.key", new_key)
        info = StackInfo(
            home=home,
            redis_url=redis_url,
            database_url=home_database_url,
            address_url=address_url,
            secret_keys=keys,
        )
        effective = info.fill(settings)
        before = read_stack(home)
        running = _running_programs(before, info)
        started = []
        missing = [name for name in programs if name not in running and is_installed(name)]
        addressed, listeners = _addressed(effective, missing, running, before, opened)
        for name in missing:
            on_start(name)
            program, address = _start(
                name,
                addressed,
                home,
                undo,
                concurrency=concurrency,
                own_redis=redis.process is not None,
                listener=listeners.get(name),
            )
            started.append(program)
            running[name] = Service(name=name, address=address, process=program.process)
        for program in started:
            program.wait_until_ready()
        digest, odoo = _settings_digest(effective), effective.odoo_url.rpartition("@")[2]
        if before is not None and ("worker" not in running or running["worker"].was_running):
            digest, odoo = before.settings_digest, before.odoo
        services = (postgres, redis, *(running[name] for name in PROGRAMS if name in running))
        info = replace(info, services=services, odoo=odoo, settings_digest=digest)
        info = replace(info, supervisor=before.supervisor if before else None)
        if supervised and not (info.supervisor and info.supervisor.alive):
            info = replace(info, supervisor=_start_supervisor(settings, home, undo, concurrency=concurrency))
        write_stack(info)
        return info, started


def down(home: Path, *, seconds: float = WARM_SECONDS) -> list[str]:
    """Stop the parts that `up` started in this folder: programs first, then the servers.

    Args:
        home: the folder; see `Settings.home`.
        seconds: how long the worker may finish its jobs before they are interrupted (they run again after the next
            start).

    Returns:
        The names of the stopped parts.
    """
    if not home.exists():
        return []
    stopped = []
    with signals_deferred(), file_lock(home / "stack.lock"):
        info = read_stack(home)
        if info and info.supervisor:  # first: it would start the others again
            stop_program(info.supervisor)
        for name in reversed(PROGRAMS):
            service = info.service(name) if info else None
            if service and service.process:
                stopped += [name] if service.process.alive else []
                stop_program(service.process, seconds=seconds)
        for name, kind in (("redis", EmbeddedRedis), ("postgres", EmbeddedPostgres)):
            server = kind.find(home / name)
            if server is not None:
                server.stop()
                stopped.append(name)
        state_file(home).unlink(missing_ok=True)
    return stopped


def is_installed(program: str) -> bool:
    """Whether the modules of a program are installed."""
    return all(importlib.util.find_spec(library) for library in REQUIRED_MODULES.get(program, ()))


def has_current_settings(info: StackInfo, settings: Settings) -> bool:
    """Whether the worker of the stack was started with these settings."""
    return info.settings_digest == _settings_digest(info.fill(_without_own_servers(settings)))


def flower_password_file(home: Path) -> Path:
    """The file of the generated dashboard password, used when FBS_FLOWER_PASSWORD is not set."""
    return home / "flower.password"


def _running_programs(before: StackInfo | None, info: StackInfo) -> dict[str, Service]:
    """The programs that still run; all are stopped if their servers changed."""
    programs = [service for service in before.services if service.name in PROGRAMS] if before else []
    if before and (before.redis_url, before.database_url) == (info.redis_url, info.database_url):
        return {service.name: service for service in programs if service.process and service.process.alive}
    for service in programs:
        if service.process:
            stop_program(service.process)
    return {}


def _start(
    name: str,
    settings: Settings,
    home: Path,
    undo: list[Callable[[], None]],
    *,
    concurrency: int,
    own_redis: bool,
    listener: socket.socket | None,
) -> tuple[Program, str]:
    """Start one program; return it with its address, or its log file if it has none."""
    log = home / f"{name}.log"
    address, arguments = str(log), []
    if name in _LINKS:
        address = url_of(getattr(settings, f"fbs_{name}_address"), getattr(settings, f"fbs_{name}_port"))
    if name == "worker":
        # an embedded Redis has no other users: messages in the default queue are for this worker, too
        queues = (*QUEUES, CELERY_QUEUE) if own_redis else QUEUES
        arguments = [f"--concurrency={concurrency}", f"--queues={','.join(queues)}"]
    if name == "flower" and not settings.fbs_flower_password.get_secret_value():
        password = _persistent_secret(flower_password_file(home), lambda: secrets.token_urlsafe(18))
        settings = settings.model_copy(update={"fbs_flower_password": SecretStr(password)})
    with signals_deferred():
        program = Program.spawn(
            name, *arguments, settings=settings, log=log, variables=_password_file(home), listener=listener
        )
        undo.append(program.stop)
    return program, address


def _start_supervisor(
    settings: Settings, home: Path, undo: list[Callable[[], None]], *, concurrency: int
) -> ProcessRef:
    with signals_deferred():
        program = Program.spawn(
            "up", "--supervise", f"--concurrency={concurrency}", settings=settings, log=home / "supervisor.log"
        )
        undo.append(program.stop)
    program.wait_until_ready()
    return program.process


def _addressed(
    settings: Settings,
    names: Collection[str],
    running: Mapping[str, Service],
    before: StackInfo | None,
    opened: ExitStack,
) -> tuple[Settings, dict[str, socket.socket]]:
    """The settings with the addresses of the dashboard and the API, and the URLs by which they link to each other.

    Both listen from here on, on sockets that they inherit: a port that was free is still theirs when they have started.

    Args:
        settings: the settings.
        names: the programs to start.
        running: those that run already, whose addresses stay.
        before: the stack of before; a program that has ended gets its port again.
        opened: closes the sockets of this process.

    Returns:
        The settings, and the sockets by program.

    Raises:
        SettingsError: a configured port is taken, or an address does not exist here.
    """
    update: dict[str, Any] = {}
    listeners = {}
    for name, link in _LINKS.items():
        if name in running:
            url = running[name].address
        elif name in names:
            ended = before.service(name) if before else None
            preferred = urlsplit(ended.address).port if ended else None
            listener = opened.enter_context(_listener(settings, name, preferred=preferred))
            address, port = getattr(settings, f"fbs_{name}_address") or LOOPBACK, listener.getsockname()[1]
            update |= {f"fbs_{name}_address": address, f"fbs_{name}_port": port}
            listeners[name] = listener
            url = url_of(address, port)
        else:
            continue
        if not getattr(settings, link) and urlsplit(url).hostname not in _ANY_ADDRESS:
            update[link] = url
    return settings.model_copy(update=update), listeners


def _listener(settings: Settings, name: str, *, preferred: int | None) -> socket.socket:
    """A socket on the configured port; else on the preferred or the default one, or any free one if it is taken."""
    setting = f"fbs_{name}_port"
    port = int(getattr(settings, setting))
    if not (port and setting in settings.model_fields_set):
        with suppress(SettingsError):
            return listener_of(name, settings.model_copy(update={setting: preferred or port}))
        settings = settings.model_copy(update={setting: 0})
    return listener_of(name, settings)


@contextmanager
def _rollback_on_failure() -> Iterator[list[Callable[[], None]]]:
    """Run the registered callbacks in reverse order if the block fails or is interrupted."""
    undo: list[Callable[[], None]] = []
    try:
        yield undo
    except BaseException:
        with signals_deferred():
            for step in reversed(undo):
                step()
        raise


def _no_home(home: Path, reason: str | None) -> str:
    return f"The folder {home} (FBS_HOME) cannot be used: {reason}."


def _postgres(
    settings: Settings, home: Path, ports: Iterable[int], undo: list[Callable[[], None]]
) -> tuple[Service, str, str]:
    """PostgreSQL with the URLs of the home database: for us, and for other programs."""
    if url := settings.fbs_database_url:
        config = DatabaseConfig.from_url(url)
        database.connect(config).close()
        return Service(name="postgres", address=config.address(), process=None, was_running=True), url, url
    with signals_deferred():
        server = start_on(EmbeddedPostgres, settings, home, ports)
        if not server.was_running:
            undo.append(server.stop)
    server.create_database(HOME_DATABASE)
    config = server.config(HOME_DATABASE)
    by_address = config
    if server.port:
        password = _persistent_secret(home / "postgres.password", lambda: secrets.token_urlsafe(24))
        server.set_password(password)
        address = {"host": LOOPBACK, "port": server.port, "password": SecretStr(password)}
        by_address = config.model_copy(update=address)
        write_private(home / _LAST_URL, database_url(by_address))
        lines = (f"{host}:{server.port}:*:{config.user}:{password}\n" for host in ("localhost", LOOPBACK))
        write_private(home / _PGPASS, "".join(lines))
    service = Service(
        name="postgres", address=by_address.address(), process=server.process, was_running=server.was_running
    )
    return service, database_url(config), database_url(by_address)


def _without_own_servers(settings: Settings) -> Settings:
    """The settings without the URLs of this folder's own servers, which `fbs env` may have put there."""
    home = settings.home()
    last = home / _LAST_URL
    own = {
        "fbs_redis_url": EmbeddedRedis.last_url(home / "redis"),
        "fbs_database_url": last.read_text() if last.exists() else None,
    }
    return settings.model_copy(update={name: "" for name, url in own.items() if url == getattr(settings, name)})


def _password_file(home: Path) -> dict[str, str]:
    """The variable by which libpq finds the password of our PostgreSQL, unless the user has such a file."""
    ours = home / _PGPASS
    has_own = "PGPASSFILE" in os.environ or Path("~/.pgpass").expanduser().exists()
    return {"PGPASSFILE": str(ours)} if ours.exists() and not has_own else {}


def _redis(settings: Settings, home: Path, ports: Iterable[int], undo: list[Callable[[], None]]) -> tuple[Service, str]:
    if settings.fbs_redis_url:
        with queue.connect(settings.fbs_redis_url) as client:
            client.ping()
        return Service(name="redis", address=client.address, process=None, was_running=True), settings.fbs_redis_url
    with signals_deferred():
        server = start_on(EmbeddedRedis, settings, home, ports)
        if not server.was_running:
            undo.append(server.stop)
    address = queue.address(server.url)
    return Service(name="redis", address=address, process=server.process, was_running=server.was_running), server.url


def _persistent_secret(path: Path, generate: Callable[[], str]) -> str:
    """A generated secret in a file; it outlives `fbs down`, as the passwords encrypted with it do."""
    if not path.exists():
        write_private(path, generate() + "\n")
    return path.read_text().strip()


def _settings_digest(settings: Settings) -> str:
    read = settings_environment(settings)
    text = json.dumps({name: read[name] for name in sorted(read) if name not in _NOT_READ})
    return hashlib.sha256(text.encode()).hexdigest()
