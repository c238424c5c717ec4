"""What lies between this host and Odoo: proxies and authorities of certificates.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` (upper or lower case), `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` are
read as other programs do.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

from urllib3.util import make_headers

from fbs_worker.core.errors import SettingsError
from fbs_worker.core.odoo_address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy of HTTP.

    Attributes:
        host: its name or address.
        port: its port.
        headers: its log-in; secret.
        secrets: the same in parts, to redact.
    """

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


def proxy_for(address: Address) -> Proxy | None:
    """The proxy that the environment names for a server; None to connect directly, as always to this host.

    Raises:
        SettingsError: the proxy's URL is not valid.
    """
    named = getproxies_environment()
    url = named.get(address.scheme) or named.get("all")
    if not url or _is_direct(address, named):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        variable = f"{address.scheme.upper()}_PROXY"
        raise SettingsError(
            f"The proxy of {variable} cannot be used.",
            hint=f"Write {variable} as http://host:port or http://user:password@host:port.",
        )
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    headers = make_headers(proxy_basic_auth=f"{user}:{password}") if user else {}
    return Proxy(host=host, port=port, headers=dict(headers), secrets=(password, *headers.values()))


def _is_direct(address: Address, named: Mapping[str, str]) -> bool:
    host = address.host.lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        number = None
    if number is not None and number.is_loopback:
        return True
    entries = [entry.strip().lower() for entry in named.get("no", "").split(",")]
    return any(_covers(entry, host, address.port, number) for entry in entries if entry)


def _covers(entry: str, host: str, port: int, number: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Whether an entry of NO_PROXY (a domain, `*`, an address or a network, with or without a port) is meant."""
    if number is not None:
        try:
            return number in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return entry in ("*", f"{host}:{port}", f"[{host}]:{port}")
    domain, _, only = entry.partition(":")
    domain = domain.removeprefix("*").removeprefix(".")
    return only in ("", str(port)) and (not domain or host == domain or host.endswith(f".{domain}"))


def tls_context() -> ssl.SSLContext:
    """A context that verifies certificates, by the authorities of the system, and of `REQUESTS_CA_BUNDLE`.

    Raises:
        SettingsError: the authorities cannot be read.
    """
    context = ssl.create_default_context()
    # some distributions allow older versions by default
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle:
        try:
            context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
        except OSError as exc:
            raise SettingsError(
                f"The authorities of REQUESTS_CA_BUNDLE cannot be read: {exc.strerror or 'no certificates'}.",
                hint="Set it to a file of certificates in PEM, or a folder of them.",
            ) from None
    return context
