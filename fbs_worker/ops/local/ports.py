"""Ports of the servers of `fbs up`. They are remembered in FBS_HOME, so that other programs find the servers again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fbs_worker.core.errors import FBSError, SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, free_port, listening
from fbs_worker.ops.local.embedded.server import Server
from fbs_worker.ops.local.state import write_private

_S = TypeVar("_S", bound=Server)
_ANY = 0
_TRIED = 100


def choose_ports(kind: type[Server], settings: Settings, home: Path) -> Iterable[int]:
    """Choose the ports to try for a server: its setting's, else that of its last start, else those that are free.

    Args:
        kind: the server.
        settings: FBS_POSTGRES_PORT and FBS_REDIS_PORT.
        home: the folder that remembers the last port.

    Raises:
        SettingsError: there is only one to try, and it is taken.
    """
    setting = f"fbs_{kind.name}_port"
    port, is_set = int(getattr(settings, setting)), setting in settings.model_fields_set
    remembered = _ANY if is_set else _last_port(kind, home)
    if not is_set and not remembered:
        return _free_ports(port)
    port = remembered or port
    if port == _ANY:
        return _free_ports(_ANY)
    if not _is_free(port) and kind.find(home / kind.name) is None:
        whose = f"that {kind.label} had at its last start" if remembered else f"that {kind.label} is to have"
        raise SettingsError(
            f"Port {port} of {LOOPBACK}, {whose}, is in use by another program.",
            hint=f"Set {setting.upper()} to another one, e.g. {next(_free_ports(port + 1))}, which is free.",
        )
    return [port]


def start_on(kind: type[_S], settings: Settings, home: Path, ports: Iterable[int]) -> _S:
    """Start a server on the first of these ports that no other program takes meanwhile, or find it running.

    Args:
        kind: the server.
        settings: as for `choose_ports`.
        home: the folder of its folder, which remembers the port.
        ports: the result of `choose_ports`.

    Raises:
        FBSError: the server does not start.
    """
    for port in ports:
        try:
            server = kind.start(home / kind.name, port=port)
        except FBSError:
            if isinstance(ports, list) or _is_free(port):
                raise
            continue
        if server.port and getattr(settings, f"fbs_{kind.name}_port") != _ANY:
            write_private(_file(kind, home), f"{server.port}\n")
        return server
    raise SettingsError("There is no free port.", hint=f"Set FBS_{kind.name.upper()}_PORT to one.")


def _free_ports(first: int) -> Iterator[int]:
    """The free ports from one on, then any."""
    if first != _ANY:
        yield from filter(_is_free, range(first, min(first + _TRIED, 65_536)))
    for _ in range(_TRIED):
        yield free_port()


def _is_free(port: int) -> bool:
    with suppress(OSError):
        listening(LOOPBACK, port).close()
        return True
    return False


def _last_port(kind: type[Server], home: Path) -> int:
    with suppress(OSError, ValueError):
        return int(_file(kind, home).read_text())
    return _ANY


def _file(kind: type[Server], home: Path) -> Path:
    return home / f"{kind.name}.port"
