"""Protection against cross-site requests, and against DNS rebinding where no token is configured.

Without tokens, every process on this machine has access. A page of another site could use that through a browser here:
by a cross-site request, which the browser declares (Fetch Metadata, `Origin`), or by pointing its own name at this
machine's address (DNS rebinding), which shows in the `Host` header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from fbs_worker.core.sockets import is_loopback
from fbs_worker.web.api.errors import CrossSite, NotLocal

Headers = Mapping[bytes, bytes]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
_SET_TOKENS: Final = "Set FBS_API_TOKENS on the server, and send a token; `fbs new-token` makes one."


def check_local(headers: Headers, client: str | None) -> None:
    """Check that a request without a token comes from this machine and names it as `Host`.

    Args:
        headers: the request's headers, names in lower case.
        client: the client's address; None for a Unix socket.

    Raises:
        NotLocal: the client, a proxy in between or the `Host` header is not this machine.
    """
    if client is not None and not is_loopback(client):
        raise NotLocal("Without tokens, the server answers only requests from this machine.", hint=_SET_TOKENS)
    if any(name in headers for name in _FORWARDED):
        raise NotLocal("A proxy forwarded this request: its sender is unknown.", hint=_SET_TOKENS)
    if not is_loopback(_without_port(headers.get(b"host", b"").decode("latin-1"))):
        raise NotLocal(
            "Without tokens, the server answers only to the names 127.0.0.1 and localhost.",
            hint=f"Use one of those names. Otherwise: {_SET_TOKENS}",
        )


def check_origin(headers: Headers, method: str, *, page: bool) -> None:
    """Check that a browser does not send a request on behalf of another site.

    Args:
        headers: the request's headers, names in lower case.
        method: the request's method.
        page: the path is a page, to which a link of another site may navigate.

    Raises:
        CrossSite: the request is cross-site, and no navigation to a page.
    """
    site = headers.get(b"sec-fetch-site", b"none")
    navigation = page and method in SAFE_METHODS and headers.get(b"sec-fetch-mode") == b"navigate"
    foreign = site == b"cross-site" or (site == b"same-site" and method not in SAFE_METHODS)
    origin = headers.get(b"origin")
    if origin is not None and not _is_own(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
        foreign = True
    if foreign and not navigation:
        raise CrossSite(
            "A browser sent this request on behalf of another site.",
            hint="Send it from a program, or from this server's pages.",
        )


def _is_own(origin: str, host: str) -> bool:
    """Compare `Origin` with `Host`. A proxy may have terminated TLS, so the scheme is that of `Origin`."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        own = urlsplit(f"{parts.scheme}://{host}")
        return bool(parts.hostname) and (parts.hostname, port) == (
            own.hostname,
            own.port or _DEFAULT_PORTS.get(parts.scheme),
        )
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
