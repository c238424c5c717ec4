"""Where a server of ours listens: the dashboard, the HTTP API."""

from __future__ import annotations

import errno
import ipaddress
import os
from contextlib import suppress
from typing import Final

from fbs_worker.core.errors import SettingsError

LOOPBACK: Final = "127.0.0.1"
"""Where a server listens that is not told otherwise."""


def is_loopback(address: str) -> bool:
    """Whether this is this machine's own address, or a name that always means it."""
    host = address.strip("[]").rstrip(".").lower()
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return (mapped or found).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def url_of(address: str, port: int) -> str:
    """The address of a server as a browser takes it."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def listen_error(what: str, address: str, port: int, exc: OSError | OverflowError, *, setting: str) -> SettingsError:
    """Why a server cannot listen where it should.

    Args:
        what: the server, e.g. `The API`.
        address: where it should listen.
        port: on which port.
        exc: what the operating system said.
        setting: how the settings of both begin, e.g. `FBS_API`.
    """
    if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
        return SettingsError(
            f"Port {port} of {address} is taken.", hint=f"Set {setting}_PORT to another one; 0 takes any that is free."
        )
    reason = (exc.strerror or os.strerror(exc.errno or 0)) if isinstance(exc, OSError) else "no such port"
    return SettingsError(
        f"{what} cannot listen on {address}, port {port}: {reason}.",
        hint=f"Correct {setting}_ADDRESS or {setting}_PORT.",
    )
