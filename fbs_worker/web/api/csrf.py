"""Whether a request comes from where it may: not from another site's page in somebody's browser, and from this machine.

Where no token is set, everybody on this machine is let in. A page of another site could use that through the browser
of somebody here: by asking straight away (the browser says so: Fetch Metadata, `Origin`), or by giving its own name
this machine's address (DNS rebinding; the `Host` header bears that name then).
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
    """See that a request without a token comes from this machine, meant for it.

    Args:
        headers: the request's, names in small letters.
        client: the address that it comes from; None for a Unix socket.

    Raises:
        NotLocal: it does not.
    """
    if client is not None and not is_loopback(client):
        raise NotLocal("Without a token, only this machine is answered.", hint=_SET_TOKENS)
    if any(name in headers for name in _FORWARDED):
        raise NotLocal("A proxy handed this request on: who sends it is not known.", hint=_SET_TOKENS)
    if not is_loopback(_name(headers.get(b"host", b"").decode("latin-1"))):
        raise NotLocal(
            "Without a token, this server answers to 127.0.0.1 and localhost alone.",
            hint=f"Use one of those names. Otherwise: {_SET_TOKENS}",
        )


def check_site(headers: Headers, method: str, *, page: bool) -> None:
    """See that a browser does not ask on behalf of another site.

    Args:
        headers: the request's, names in small letters.
        method: the request's.
        page: a person may come to the path by a link.

    Raises:
        CrossSite: it does.
    """
    site = headers.get(b"sec-fetch-site", b"none")
    visit = page and method in SAFE_METHODS and headers.get(b"sec-fetch-mode") == b"navigate"
    foreign = site == b"cross-site" or (site == b"same-site" and method not in SAFE_METHODS)
    origin = headers.get(b"origin")
    if origin is not None and not _is_own(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
        foreign = True
    if foreign and not visit:
        raise CrossSite(
            "A browser sends this on behalf of another site.", hint="Ask from a program, or from this server's pages."
        )


def _is_own(origin: str, host: str) -> bool:
    """The browser's `Origin` is this server, as the browser names it in `Host`. A proxy may have taken TLS off."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        ours = urlsplit(f"{parts.scheme}://{host}")
        return bool(parts.hostname) and (parts.hostname, port) == (
            ours.hostname,
            ours.port or _DEFAULT_PORTS.get(parts.scheme),
        )
    except ValueError:
        return False


def _name(host: str) -> str:
    """A `Host` header without its port."""
    if host.startswith("["):
        return host.partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
