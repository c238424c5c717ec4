"""Allowlist of the database hosts that a caller of the API may name.

Without it, jobs would let a caller reach networks that only the workers can reach (SSRF). Each host is resolved and
checked against FBS_ALLOWED_HOSTS. A host that is allowed by its network is replaced by the checked address, so that its
name cannot resolve to another one later (DNS rebinding). Addresses of cloud metadata services are blocked regardless of
the allowlist: they return the machine's own credentials.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from fbs_worker.core.database_config import DatabaseConfig, host_and_port
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.web.api.errors import HostRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BLOCKED_NETWORKS: Final[tuple[Network, ...]] = tuple(
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
"""Blocked regardless of FBS_ALLOWED_HOSTS."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last four bytes are an IPv4 address."""

_IPV4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_HINT: Final = "Ask the operator of this server to add it to FBS_ALLOWED_HOSTS."
_FORMAT_HINT: Final = "Use names, addresses and networks, separated by commas."


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAllowlist:
    """The hosts that callers may name.

    Attributes:
        names: host names and addresses in lower case; folders of Unix sockets verbatim.
        networks: networks; a single address is a network of one.
    """

    names: frozenset[str]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Parse FBS_ALLOWED_HOSTS; if it is empty, allow the hosts of the other settings.

        The default database host is always allowed.

        Raises:
            SettingsError: FBS_ALLOWED_HOSTS is not valid.
        """
        entries = [part.strip() for part in settings.fbs_allowed_hosts.replace("\n", ",").split(",")]
        allowed = [part for part in entries if part] or list(_configured_hosts(settings))
        names, networks = {_normalise(settings.fbs_default_database_host)}, []
        for host in allowed:
            if "/" in host and not host.startswith("/"):
                try:
                    networks.append(ipaddress.ip_network(host, strict=False))
                except ValueError:
                    raise SettingsError(f"{host!r} in FBS_ALLOWED_HOSTS is not a network.", hint=_FORMAT_HINT) from None
                continue
            with suppress(ValueError):
                networks.append(ipaddress.ip_network(host.strip("[]")))
            names.add(_normalise(host))
        return cls(names=frozenset(names), networks=tuple(networks))

    def check(self, host: str) -> str:
        """Check a host against the allowlist. This resolves its name, which may take seconds.

        Args:
            host: a name, an address or the folder of a Unix socket.

        Returns:
            The host to connect to: verbatim if the name itself is allowed, the checked address if its network is.

        Raises:
            HostRefused: the host is not allowed.
        """
        if host.startswith(("/", "@")):
            if host not in self.names:
                raise HostRefused("This socket folder is not allowed.", hint=_HINT)
            return host
        addresses = _resolve(host)
        variants = (variant for address in addresses for variant in _with_embedded(address))
        if any(variant in network for variant in variants for network in BLOCKED_NETWORKS):
            raise HostRefused(
                "This host has a metadata or link-local address.", hint="Such an address is never allowed."
            )
        if self.is_named(host):
            return host
        if addresses and all(self._allows(address) for address in addresses):
            return str(addresses[0])
        raise HostRefused("This database host is not allowed.", hint=_HINT)

    def is_named(self, host: str) -> bool:
        """Whether the host itself is allowed, not only its network."""
        return _normalise(host) in self.names

    def _allows(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def check_database(database: DatabaseConfig, settings: Settings) -> str:
    """Check a requested database's host, and whether its password may be sent there.

    A password that the server adds (a reference, or the settings' default) is sent only to a host that is allowed by
    name: in an allowed network, a caller may run a server that collects it.

    Args:
        database: the requested database, completed from the settings.
        settings: FBS_ALLOWED_HOSTS, and the default password.

    Returns:
        The host to connect to; see `HostAllowlist.check`.

    Raises:
        HostRefused: the host is not allowed, or not with this password.
    """
    allowlist, password = HostAllowlist.of(settings), database.password.get_secret_value()
    checked = [(allowlist.check(host), port) for host, port in database.servers]
    host = checked[0][0] if len(checked) == 1 else ",".join(map(host_and_port, checked))
    default = settings.fbs_default_database_password.get_secret_value()
    named = all(allowlist.is_named(host) for host, _ in database.servers)
    if password and not named and (Vault.is_reference(password) or password == default):
        raise HostRefused(
            "This host is allowed by its network alone: the server does not send a password of its own there.",
            hint="Send the password itself, or ask the operator of this server to add the host to FBS_ALLOWED_HOSTS.",
        )
    return host


def _configured_hosts(settings: Settings) -> Iterable[str]:
    with suppress(UsageError):  # reported by the code that needs the database
        yield from (host for host, _ in DatabaseConfig.from_url(settings.fbs_database_url).servers)
    for url in (settings.odoo_url, *(connection.url for connection in settings.fbs_odoo.values())):
        with suppress(ValueError):
            host = urlsplit(url).hostname if "://" in url else None
            if host:
                yield host


def _normalise(host: str) -> str:
    return host if host.startswith(("/", "@")) else host.strip("[]").rstrip(".").lower()


def _resolve(host: str) -> list[Address]:
    """Resolve a name, or an address in any notation that `connect` accepts; empty if it does not resolve."""
    try:
        results = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        return []
    texts = dict.fromkeys(str(result[4][0]).partition("%")[0] for result in results)
    return [_unmapped(ipaddress.ip_address(text)) for text in texts]


def _unmapped(address: Address) -> Address:
    """The IPv4 address of an IPv4-mapped IPv6 address (`::ffff:127.0.0.1`)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _with_embedded(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses to which a tunnel or a translator would send its packets."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 or address in _IPV4_COMPATIBLE:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield address.teredo[1]
