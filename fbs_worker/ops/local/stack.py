"""The servers and programs of one machine: what `fbs up` starts and `fbs down` ends.

Everything lies in one folder, FBS_HOME: `postgres/` and `redis/` with their data, the programs' logs, `secret.key`,
`flower.password`, and `stack.json`, which says what runs. All of it is readable to its owner alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from fbs_worker.core import postgres as database
from fbs_worker.core import redis as queue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, url_of
from fbs_worker.core.vault import new_key
from fbs_worker.jobs.config import CELERY_QUEUE, QUEUES
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.processes import file_lock, signals_held
from fbs_worker.ops.local.programs import WARM_SECONDS, Program, settings_environment, stop_program
from fbs_worker.ops.local.state import (
    Service,
    StackInfo,
    database_url,
    filled_settings,
    read_stack,
    state_file,
    write_private,
    write_stack,
)

HOME_DATABASE: Final = "fbs"
"""The database that `fbs up` makes in the PostgreSQL that it starts."""

PROGRAMS: Final = ("worker", "beat", "flower", "api")
"""Our own programs, in the order of their start; they end the other way round."""

NEEDS: Final = {"flower": ("flower",), "api": ("fastapi", "uvicorn", "jinja2", "python_multipart")}
"""The libraries of a program that come with an extra of its name."""

_HOME_HINT: Final = "Set FBS_HOME to a folder of yours."
_NO_OBSERVER: Final[Callable[[str], None]] = lambda _: None  # noqa: E731


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


def up(
    settings: Settings,
    *,
    concurrency: int = 2,
    programs: Sequence[str] = PROGRAMS,
    tell: Callable[[str], None] = _NO_OBSERVER,
) -> tuple[StackInfo, list[Program]]:
    """Start what is not running: PostgreSQL and Redis where none is set, and our own programs.

    Args:
        settings: where FBS_REDIS_URL or FBS_DATABASE_URL is set, that server is used and must answer.
        concurrency: how many jobs the worker runs at a time.
        programs: which of `PROGRAMS`; one whose extra is not installed is left out.
        tell: is told in a word what is being started.

    Returns:
        The running stack, and the programs that this call started.

    Raises:
        FBSError: a part did not come up. What this call started is stopped again then.
    """
    home = make_home(settings)
    with file_lock(home / "stack.lock"), _undone_on_failure() as undo:
        tell("postgres")
        postgres, home_database_url = _postgres(settings, home, undo)
        tell("redis")
        redis, redis_url = _redis(settings, home, undo)
        keys = settings.fbs_secret_keys.get_secret_value() or _kept_secret(home / "secret.key", new_key)
        effective = filled_settings(settings, redis_url, home_database_url, keys)
        before = read_stack(home)
        moved = before is not None and (before.redis_url, before.database_url) != (redis_url, home_database_url)
        running = _running(before, moved=moved)
        started = []
        for name in programs:
            if name in running or not is_installed(name):
                continue
            tell(name)
            program, place = _start(
                name, effective, home, undo, concurrency=concurrency, redis_is_ours=redis.process is not None
            )
            started.append(program)
            running[name] = Service(name=name, place=place, process=program.process)
        for program in started:
            program.wait_until_ready()
        mark, odoo = _mark(effective), effective.odoo_url.rpartition("@")[2]
        if before is not None and running["worker"].was_running:
            mark, odoo = before.settings_mark, before.odoo
        info = StackInfo(
            home=home,
            redis_url=redis_url,
            database_url=home_database_url,
            secret_keys=keys,
            services=(postgres, redis, *(running[name] for name in PROGRAMS if name in running)),
            odoo=odoo,
            settings_mark=mark,
        )
        write_stack(info)
        return info, started


def down(home: Path, *, seconds: float = WARM_SECONDS) -> list[str]:
    """Stop what `up` started in this folder, and nothing else: the servers last, once the worker's jobs are done.

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
        info = read_stack(home)
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
    """Whether what this one of our programs needs is installed."""
    return all(importlib.util.find_spec(library) for library in NEEDS.get(program, ()))


def has_current_settings(info: StackInfo, settings: Settings) -> bool:
    """Whether the stack's worker was started with these settings."""
    return info.settings_mark == _mark(info.filled(settings))


def flower_password_file(home: Path) -> Path:
    """Where the dashboard's password is kept when none is set."""
    return home / "flower.password"


def _running(before: StackInfo | None, *, moved: bool) -> dict[str, Service]:
    """The programs that still run; those that talk to servers which are gone are ended."""
    running = {}
    for service in before.services if before else ():
        if service.name in PROGRAMS and service.process is not None:
            if moved:
                stop_program(service.process)
            elif service.process.alive:
                running[service.name] = service
    return running


def _start(
    name: str,
    settings: Settings,
    home: Path,
    undo: list[Callable[[], None]],
    *,
    concurrency: int,
    redis_is_ours: bool,
) -> tuple[Program, str]:
    """Start one of our programs; where it is, for a person, comes back as well."""
    log = home / f"{name}.log"
    place, arguments = str(log), []
    if name == "worker":
        # a Redis that we have started is ours alone: what names no queue is meant for us, too
        queues = (*QUEUES, CELERY_QUEUE) if redis_is_ours else QUEUES
        arguments = [f"--concurrency={concurrency}", f"--queues={','.join(queues)}"]
    if name == "flower":
        settings = _for_flower(settings, home)
        place = url_of(settings.fbs_flower_address, settings.fbs_flower_port)
    if name == "api":
        address = settings.fbs_api_address or LOOPBACK
        port = _port(settings, "fbs_api_port", address)
        settings = settings.model_copy(update={"fbs_api_address": address, "fbs_api_port": port})
        place = url_of(address, port)
    with signals_held():
        program = Program.spawn(name, *arguments, settings=settings, log=log)
        undo.append(program.stop)
    return program, place


def _for_flower(settings: Settings, home: Path) -> Settings:
    """The dashboard's settings, with a password of its own where none is set."""
    address = settings.fbs_flower_address or LOOPBACK
    port = _port(settings, "fbs_flower_port", address)
    password = settings.fbs_flower_password.get_secret_value()
    password = password or _kept_secret(flower_password_file(home), lambda: secrets.token_urlsafe(18))
    return settings.model_copy(
        update={"fbs_flower_address": address, "fbs_flower_port": port, "fbs_flower_password": SecretStr(password)}
    )


def _port(settings: Settings, name: str, address: str) -> int:
    """The port that is set; where none is and the usual one is taken, any that is free."""
    port = int(getattr(settings, name))
    return port if name in settings.model_fields_set or _is_free(address, port) else _free_port(address)


def _is_free(address: str, port: int) -> bool:
    try:
        with closing(_listening(address, port)):
            return True
    except OSError:
        return False


def _free_port(address: str) -> int:
    with closing(_listening(address, 0)) as found:
        return int(found.getsockname()[1])


def _listening(address: str, port: int) -> socket.socket:
    return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)


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
        with queue.errors_translated(place), queue.connect(settings.fbs_redis_url) as client:
            client.ping()
        return Service(name="redis", place=place, process=None, was_running=True), settings.fbs_redis_url
    with signals_held():
        server = EmbeddedRedis.start(home / "redis")
        if not server.was_running:
            undo.append(server.stop)
    place = queue.address(server.url)
    return Service(name="redis", place=place, process=server.process, was_running=server.was_running), server.url


def _kept_secret(path: Path, make: Callable[[], str]) -> str:
    """A secret of this folder; it outlives `fbs down`, for what was sealed with it does too."""
    if not path.exists():
        write_private(path, make() + "\n")
    return path.read_text().strip()


def _mark(settings: Settings) -> str:
    text = json.dumps(settings_environment(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
