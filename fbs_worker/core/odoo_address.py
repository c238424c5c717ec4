"""Parse the address of an Odoo server from its URL, and the headers that a proxy before it wants."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from fbs_worker.core.errors import SettingsError

_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", re.IGNORECASE)
URL_HINT: Final = "Write it as http://host:port or https://host."
_PUBLIC_NAME: Final = re.compile(r"(?!localhost\.)([a-z0-9-]+\.)+[a-z][a-z0-9-]+/?", re.IGNORECASE)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED: Final = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding"),
        *("upgrade", "x-odoo-database", "proxy-authorization"),
    }
)
_HEADERS_HINT: Final = 'Write it as a JSON object, {"Name": "value"}, or one `Name: value` per line.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Address of a server.

    Attributes:
        scheme: `http` or `https`.
        host: host name or IP address, without brackets.
        port: the TCP port.
    """

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """Whether the scheme is https (TLS)."""
        return self.scheme == "https"

    @property
    def netloc_host(self) -> str:
        """The host as written in a URL: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def url(self) -> str:
        """`scheme://host[:port]`, without the port where it is the default of the scheme."""
        default = 443 if self.secure else 80
        return f"{self.scheme}://{self.netloc_host}" + ("" if self.port == default else f":{self.port}")


def with_scheme(value: Any) -> Any:
    """Complete `mycompany.odoo.com` to https, without blanks; a local name, an address or a port could be either."""
    value = value.strip() if isinstance(value, str) else value
    return f"https://{value}" if isinstance(value, str) and _PUBLIC_NAME.fullmatch(value) else value


def parse_url(text: str) -> Address:
    """Parse the URL of an Odoo server.

    Args:
        text: `http://host:port` or `https://host`; a trailing slash is accepted.

    Returns:
        Scheme, host and port.

    Raises:
        SettingsError: the text is not such a URL. The message omits what may be secret (user, query).
    """
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        guess = f" Did you mean http://{text}?" if re.fullmatch(r"[\w.-]+(:\d+)?/?", text) else ""
        raise SettingsError("The Odoo URL has no scheme.", hint=f"{URL_HINT}{guess}")
    if "@" in rest:
        raise SettingsError(
            "The Odoo URL contains a user or a password.",
            hint="Remove it from the URL; set ODOO_USER with ODOO_PASSWORD or ODOO_API_KEY.",
        )
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        raise SettingsError("The Odoo URL's scheme is neither http nor https.", hint=URL_HINT)
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host = _valid_host(parts.hostname or "")
    except ValueError:
        raise SettingsError("The Odoo URL's host is not valid.", hint=URL_HINT) from None
    try:
        port = parts.port if parts.port is not None else (443 if scheme == "https" else 80)
    except ValueError:
        port = 0
    if port == 0:
        raise SettingsError("The Odoo URL's port is not a number from 1 to 65535.", hint=URL_HINT)
    address = Address(scheme=scheme, host=host, port=port)
    if parts.path.strip("/") or parts.query or parts.fragment or rest.endswith(("?", "#")):
        what = "a path" if parts.path.strip("/") else "a query or a fragment"
        raise SettingsError(
            f"The Odoo URL has {what} after the host.", hint=f"Odoo answers at the root of its host: use {address.url}."
        )
    return address


def _valid_host(host: str) -> str:
    """The host in ASCII form; ValueError where it is not valid."""
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    ascii_host = host.encode("idna").decode("ascii") if not host.isascii() else host
    if not _HOST.fullmatch(ascii_host) or any(not 0 < len(label) < 64 for label in ascii_host.rstrip(".").split(".")):
        raise ValueError(host)
    return ascii_host


def extra_headers(text: str) -> dict[str, str]:
    """Parse `ODOO_HEADERS`.

    Args:
        text: a JSON object, or one `Name: value` per line.

    Raises:
        SettingsError: it is neither, or a header cannot be set. No message has a value.
    """
    text = text.strip()
    try:
        given = json.loads(text) if text.startswith("{") else dict(_header(line) for line in text.splitlines() if line)
    except ValueError:
        raise SettingsError("ODOO_HEADERS is not valid.", hint=_HEADERS_HINT) from None
    for name, value in given.items():
        if not (isinstance(value, str) and _HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
            raise SettingsError("A header of ODOO_HEADERS is not valid.", hint=_HEADERS_HINT)
        if name.lower() in _RESERVED:
            raise SettingsError(f"ODOO_HEADERS may not set {name}.", hint="Remove it; it is set by each request.")
    return given


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(line)
    return name.strip(), value.strip()
