"""Listening addresses of the servers: the dashboard and the HTTP API."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from contextlib import suppress
from typing import Final

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings

LOOPBACK: Final = "127.0.0.1"
"""The default address to listen on."""

_BACKLOG: Final = 512

_LABELS: Final = {"api": "The API", "flower": "The dashboard"}


def is_loopback(address: str) -> bool:
    """Return whether an address is a loopback address or a name of one (localhost)."""
    host = address.strip("[]").rstrip(".").lower()
    with suppress(ValueError):
        ip = ipaddress.ip_address(host)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (mapped or ip).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def listening(address: str, port: int) -> socket.socket:
    """Open a listening socket; its port is 0 for any free one.

    Raises:
        OSError: the port is taken, or the address does not exist here.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address.strip("[]"), port), family=family, backlog=_BACKLOG)


def listener_of(program: str, settings: Settings, *, inherited: int | None = None) -> socket.socket:
    """Open the listening socket of a server, or take the one that the process which started it has opened.

    Args:
        program: `api` or `flower`.
        settings: its address (`LOOPBACK` if not set) and port (0 for any free one).
        inherited: the file descriptor of a socket that listens already.

    Raises:
        SettingsError: the port is taken, or the address does not exist here.
    """
    if inherited is not None:
        return socket.socket(fileno=inherited)
    setting = f"fbs_{program}"
    address, port = getattr(settings, f"{setting}_address") or LOOPBACK, getattr(settings, f"{setting}_port")
    try:
        return listening(address, port)
    except (OSError, OverflowError) as exc:
        raise listen_error(_LABELS[program], address, port, exc, setting=setting.upper()) from exc


def free_port(address: str = LOOPBACK) -> int:
    """Return a free port of an address."""
    with listening(address, 0) as listener:
        return int(listener.getsockname()[1])


def url_of(address: str, port: int) -> str:
    """Return the HTTP URL of a server."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def listen_error(server: str, address: str, port: int, exc: OSError | OverflowError, *, setting: str) -> SettingsError:
    """Build the error for a server that cannot listen on its address.

    Args:
        server: the server, e.g. `The API`.
        address: the address to listen on.
        port: the port.
        exc: the error of the operating system.
        setting: the common prefix of both settings, e.g. `FBS_API`.
    """
    if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} of {address} is in use.", hint=f"Set {setting}_PORT to another one; 0 selects a free one."
        )
    reason = (exc.strerror or os.strerror(exc.errno or 0)) if isinstance(exc, OSError) else "no such port"
    return SettingsError(
        f"{server} cannot listen on {address}, port {port}: {reason}.",
        hint=f"Correct {setting}_ADDRESS or {setting}_PORT.",
    )
