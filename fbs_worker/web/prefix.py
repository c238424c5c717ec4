"""The path prefix under which a proxy serves the API and the pages.

Routes know nothing of it: it is taken off each request's path, whether the proxy left it there or not, and is the
`root_path` from which links, redirects and the cookie's path are made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX: Final = re.compile(r"(?:/[\w.~-]+){1,20}", re.ASCII)
_LINK: Final = re.compile(r'( (?:href|src|action|hx-get|hx-post)=")/(?!/)')


class PrefixMiddleware:
    """Take the prefix off each path; to be put outside of what changes the client's address.

    Args:
        app: the wrapped application.
        root_path: the prefix; empty to take that of X-Forwarded-Prefix.
        proxies: addresses and networks whose X-Forwarded-Prefix is trusted; `*` for all.
    """

    def __init__(self, app: ASGIApp, *, root_path: str, proxies: Sequence[str]) -> None:
        self._app = app
        self._root_path = root_path
        self._trusts_all = "*" in proxies
        self._networks = []
        for proxy in proxies:
            with suppress(ValueError):  # a name, which has no prefix
                self._networks.append(ipaddress.ip_network(proxy, strict=False))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its path below the prefix."""
        if scope["type"] == "http":
            prefix = self._root_path or self._forwarded(scope)
            path = scope["path"]
            if prefix and (path == prefix or path.startswith(f"{prefix}/")):
                path = path.removeprefix(prefix) or "/"
            scope = {**scope, "root_path": prefix, "path": path}
        await self._app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> str:
        header: bytes = dict(scope["headers"]).get(b"x-forwarded-prefix", b"")
        prefix = header.decode("latin-1").strip().rstrip("/")
        return prefix if prefix and self._trusts(scope) and is_prefix(prefix) else ""

    def _trusts(self, scope: Scope) -> bool:
        if self._trusts_all:
            return True
        with suppress(ValueError, TypeError):
            client = ipaddress.ip_address(scope["client"][0])
            return any(client in network for network in self._networks)
        return False


def is_prefix(text: str) -> bool:
    """Return whether a text is a path such as `/tools/fbs`, without a slash at its end."""
    return _PREFIX.fullmatch(text) is not None and not {".", ".."} & set(text.split("/"))


def requested_path(scope: Scope) -> str:
    """Return the path of a request as the client sees it."""
    return f"{scope.get('root_path', '')}{scope['path']}"


def below(prefix: str, path: str) -> str:
    """Return a path of this server as the browser sees it; addresses of other servers are returned unchanged."""
    is_local = path.startswith("/") and not path.startswith(("//", f"{prefix}/"))
    return f"{prefix}{path}" if prefix and is_local else path


def links_below(prefix: str, page: str) -> str:
    """Return a page whose links, in double quotes, lead below the prefix."""
    return _LINK.sub(rf"\1{prefix}/", page) if prefix else page
