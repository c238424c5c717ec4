"""Which database servers a caller of the API may name.

Who may enqueue a job could else use the workers to reach into a network where they themselves cannot: a host is
looked up here and checked against FBS_ALLOWED_HOSTS. Where a network allows it, the address that was checked is what
travels on, so that the name cannot mean another one later (DNS rebinding). Addresses of cloud metadata services are
refused whatever is allowed: who reaches them has the machine's own rights.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.web.api.errors import HostRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local, with the metadata services of AWS, Azure, Google, …
        "fe80::/10",  # link-local
        "fd00:ec2::254/128",  # AWS, IPv6
        "fd20:ce::254/128",  # Google, IPv6
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's agent
        "192.0.0.192/32",  # Oracle
    )
)
"""Refused whatever is allowed."""

_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): an IPv4 address in the last four bytes."""

_OLD_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_HINT: Final = "Ask whoever runs this server to add it to FBS_ALLOWED_HOSTS."
_WANTS: Final = "It wants names, addresses and networks, divided by commas."


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The hosts that callers may name.

    Attributes:
        names: hosts as they are named, in small letters; folders of Unix sockets as they are.
        networks: networks; an address is one of itself.
    """

    names: frozenset[str]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of FBS_ALLOWED_HOSTS, else those that the settings name; the default host is always among them.

        Raises:
            SettingsError: FBS_ALLOWED_HOSTS cannot be read.
        """
        given = [part.strip() for part in settings.fbs_allowed_hosts.replace("\n", ",").split(",")]
        named = [part for part in given if part] or list(_hosts_of(settings))
        names, networks = {_normal(settings.fbs_default_database_host)}, []
        for host in named:
            if "/" in host and not host.startswith("/"):
                try:
                    networks.append(ipaddress.ip_network(host, strict=False))
                except ValueError:
                    raise SettingsError(f"FBS_ALLOWED_HOSTS has no network {host!r}.", hint=_WANTS) from None
                continue
            with suppress(ValueError):
                networks.append(ipaddress.ip_network(host.strip("[]")))
            names.add(_normal(host))
        return cls(names=frozenset(names), networks=tuple(networks))

    def check(self, host: str) -> str:
        """See whether a caller may name this host; it is looked up, which may take seconds.

        Args:
            host: a name, an address or the folder of a Unix socket.

        Returns:
            What to connect to: the host as it was named, if that name is allowed; the address that was checked, if
            it is allowed through that.

        Raises:
            HostRefused: it is not allowed.
        """
        if host.startswith(("/", "@")):
            if host not in self.names:
                raise HostRefused("Callers may not name this socket folder.", hint=_HINT)
            return host
        addresses = _look_up(host)
        if any(meant in network for address in addresses for meant in _meanings(address) for network in NEVER):
            raise HostRefused("This host is a metadata or link-local address.", hint="It is never allowed.")
        if self.trusts(host):
            return host
        if addresses and all(self._allows(address) for address in addresses):
            return str(addresses[0])
        raise HostRefused("Callers may not name this database host.", hint=_HINT)

    def trusts(self, host: str) -> bool:
        """Whether this very host is allowed, not only a network that it lies in."""
        return _normal(host) in self.names

    def _allows(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def check_database(database: DatabaseConfig, settings: Settings) -> str:
    """See whether a caller may name this database; see `Hosts.check`.

    A password that is not the caller's own (a reference, or the settings' default) is sent only to a host that is
    allowed as it was named: in a network that is allowed, a caller may have a server that asks for it.

    Args:
        database: what the caller named, what was missing filled in from the settings.
        settings: what is allowed.

    Returns:
        The host to connect to.

    Raises:
        HostRefused: it is not allowed, or not with this password.
    """
    hosts, password = Hosts.of(settings), database.password.get_secret_value()
    host = hosts.check(database.host)
    default = settings.fbs_default_database_password.get_secret_value()
    if password and not hosts.trusts(database.host) and (Vault.is_reference(password) or password == default):
        raise HostRefused(
            "This host is allowed by its network alone: a password that the server knows is not sent there.",
            hint="Send the password itself, or ask whoever runs this server to add the host to FBS_ALLOWED_HOSTS.",
        )
    return host


def _hosts_of(settings: Settings) -> Iterable[str]:
    """The hosts that the settings name."""
    with suppress(UsageError):  # whoever needs the database says what is wrong with its URL
        yield DatabaseConfig.from_url(settings.fbs_database_url).host
    for url in (settings.odoo_url, *(connection.url for connection in settings.fbs_odoo.values())):
        with suppress(ValueError):
            host = urlsplit(url).hostname if "://" in url else None
            if host:
                yield host


def _normal(host: str) -> str:
    return host if host.startswith(("/", "@")) else host.strip("[]").rstrip(".").lower()


def _look_up(host: str) -> list[Address]:
    """The addresses of a name, or of an address in any spelling that connecting understands; none where it has none."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        return []
    texts = dict.fromkeys(str(place[4][0]).partition("%")[0] for place in found)
    return [_unmapped(ipaddress.ip_address(text)) for text in texts]


def _unmapped(address: Address) -> Address:
    """The IPv4 address that is connected to where an IPv6 address merely spells it (`::ffff:127.0.0.1`)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that a tunnel or a translator would make of it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED or address in _OLD_COMPATIBLE:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield address.teredo[1]
