"""What a caller may name: hosts of databases and of Odoo with their ports, and references to passwords.

Without the allowlist of hosts, jobs would let a caller reach networks that only the workers can reach (SSRF). Each host
is resolved and checked against FBS_ALLOWED_HOSTS, by the API and where the job runs. A host that is allowed by its
network is replaced by the checked address, so that its name cannot resolve to another one later (DNS rebinding).
Addresses of cloud metadata services are blocked regardless of the allowlist: they return the machine's own credentials.

Without FBS_SECRET_REFERENCES, a caller could have any variable and file of a worker sent to a server of their own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, Self
from urllib.parse import urlsplit

from fbs_worker.core.database_config import DEFAULT_PORT, DatabaseConfig, host_and_port
from fbs_worker.core.errors import HostRefused, SettingsError, UsageError
from fbs_worker.core.odoo_address import Address, parse_url
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, is_loopback
from fbs_worker.core.vault import ENV, FILE, Vault, unresolved

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
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

_LOOPBACKS: Final = (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1"))
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last four bytes are an IPv4 address."""

_IPV4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_HINT: Final = "Ask the operator of this server to add it to FBS_ALLOWED_HOSTS."
_FORMAT_HINT: Final = "Use names, addresses and networks, each with :PORT where needed, separated by commas."

_ANY_PORT: Final = 0
_ODOO_PORTS: Final = (80, 443, 8069)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAllowlist:
    """The hosts that callers may name.

    Attributes:
        names: host names and addresses in lower case, folders of Unix sockets verbatim, with their ports; 0: any port.
        networks: networks with their ports; a single address is a network of one.
    """

    names: frozenset[tuple[str, int]]
    networks: tuple[tuple[Network, int], ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Parse FBS_ALLOWED_HOSTS; if it is empty, allow the hosts of the other settings.

        An entry without a port means 5432 and FBS_DEFAULT_DATABASE_PORT. The default database host is always allowed,
        with its port. If that is a socket, and the API listens on loopback alone, `localhost` is this machine to all
        callers: it is allowed, too, and by name with the port of the PostgreSQL of `fbs up`.

        Raises:
            SettingsError: FBS_ALLOWED_HOSTS is not valid.
        """
        default_port = settings.fbs_default_database_port
        names, networks = {(_normalise(settings.fbs_default_database_host), default_port)}, list[tuple[Network, int]]()
        entries = _entries(settings)
        if not entries and _is_local(settings):
            names |= {(host, settings.fbs_postgres_port) for host in ("localhost", "127.0.0.1")}
            networks += [(network, DEFAULT_PORT) for network in _LOOPBACKS]
        parsed = cls._parse(entries or _configured_hosts(settings), default_ports=(DEFAULT_PORT, default_port))
        return cls(names=parsed.names | names, networks=(*parsed.networks, *networks))

    @classmethod
    def of_odoo(cls, settings: Settings) -> Self:
        """Parse FBS_ALLOWED_HOSTS for URLs of Odoo; if it is empty, allow the servers of the settings' connections.

        An entry without a port means 80, 443 and 8069.

        Raises:
            SettingsError: FBS_ALLOWED_HOSTS is not valid.
        """
        configured = [] if _entries(settings) else _configured_odoos(settings)
        servers = {(_normalise(each.host), each.port) for each in configured}
        parsed = cls._parse(_entries(settings), default_ports=_ODOO_PORTS)
        return cls(names=parsed.names | servers, networks=parsed.networks)

    @classmethod
    def _parse(cls, entries: Iterable[str], *, default_ports: tuple[int, ...]) -> Self:
        names, networks = set[tuple[str, int]](), list[tuple[Network, int]]()
        for entry in entries:
            host, ports = _split(entry, default_ports)
            if "/" in host and not host.startswith("/"):
                try:
                    network = ipaddress.ip_network(host.replace("[", "").replace("]", ""), strict=False)
                except ValueError:
                    raise SettingsError(f"{host!r} in FBS_ALLOWED_HOSTS is not a network.", hint=_FORMAT_HINT) from None
                networks += [(network, port) for port in ports]
                continue
            with suppress(ValueError):
                address = ipaddress.ip_network(host.strip("[]"))
                networks += [(address, port) for port in ports]
            names |= {(_normalise(host), port) for port in ports}
        return cls(names=frozenset(names), networks=tuple(networks))

    def check(self, host: str, port: int = DEFAULT_PORT) -> str:
        """Check a host against the allowlist. This resolves its name, which may take seconds.

        Args:
            host: a name, an address or the folder of a Unix socket.
            port: the port; not checked for a socket.

        Returns:
            The host to connect to: verbatim if the name itself is allowed, the checked address if its network is.

        Raises:
            HostRefused: the host is not allowed.
        """
        if host.startswith(("/", "@")):
            if host not in {name for name, _port in self.names}:
                raise HostRefused("This socket folder is not allowed.", hint=_HINT)
            return host
        addresses = _resolve(host)
        _refuse_blocked(addresses)
        if self.is_named(host, port):
            return host
        if addresses and all(self.allows(address, port) for address in addresses):
            return str(addresses[0])
        raise HostRefused("This database host is not allowed, or not with this port.", hint=_HINT)

    def is_named(self, host: str, port: int) -> bool:
        """Whether the host itself is allowed, not only its network."""
        name = _normalise(host)
        return name.startswith(("/", "@")) or not self.names.isdisjoint({(name, port), (name, _ANY_PORT)})

    def allows(self, address: IPAddress, port: int) -> bool:
        """Whether the address is in an allowed network."""
        return any(address in network for network, allowed in self.networks if allowed in (port, _ANY_PORT))


def check_odoo_url(url: str, settings: Settings, *, sends_own: bool = False) -> None:
    """Check the URL of an Odoo that a caller names: workers will send requests, and the credentials, there.

    A host is allowed by its name; by a network only where the URL has the address itself, for the name of a
    certificate cannot be replaced by a checked address. Without FBS_ALLOWED_HOSTS, `https://` to public addresses is
    allowed, too: a name that resolves to another address later has no certificate there; and so is this machine without
    FBS_API_TOKENS, for callers are on it.

    Args:
        url: the URL.
        settings: FBS_ALLOWED_HOSTS, FBS_API_TOKENS, and the connections of the environment.
        sends_own: a secret is sent that the caller does not know, e.g. a reference: only to a host allowed by name.

    Raises:
        HostRefused: the host is not allowed, not with its port, or not with this secret.
        SettingsError: the URL or FBS_ALLOWED_HOSTS is not valid.
    """
    hint = f"{_HINT} On the command line, `fbs odoo add` accepts any."
    if url.lower().startswith("recording:"):
        raise HostRefused("A recording is a file of the workers, which callers may not name.", hint=hint)
    address, allowlist = parse_url(url), HostAllowlist.of_odoo(settings)
    addresses = _resolve(address.host)
    _refuse_blocked(addresses)
    if allowlist.is_named(address.host, address.port):
        return
    if sends_own:
        raise HostRefused(
            "This host is not allowed by its name: the server does not send a secret of its own there.",
            hint="Send the secret itself, or ask the operator of this server to add the host to FBS_ALLOWED_HOSTS.",
        )
    variants = [variant for each in addresses for variant in _with_embedded(each)]
    if _is_address(address.host) and addresses and all(allowlist.allows(each, address.port) for each in addresses):
        return
    is_open = bool(variants) and not _entries(settings)
    if is_open and address.secure and all(each.is_global and not each.is_multicast for each in variants):
        return
    has_tokens = settings.fbs_api_tokens.get_secret_value().strip()
    if is_open and not has_tokens and all(each.is_loopback for each in addresses):
        return
    raise HostRefused("This Odoo host is not allowed, or not with this port.", hint=hint)


def check_database(database: DatabaseConfig, settings: Settings) -> str:
    """Check a requested database's host and port, and whether its password may be sent there.

    A reference must be allowed by FBS_SECRET_REFERENCES, unless it is the settings' default, and so must the files of
    TLS, as `file:PATH`. A password that the server
    adds (a reference, or that default) is sent only to a host that is allowed by name: in an allowed network, a caller
    may run a server that collects it.

    Args:
        database: the requested database, completed from the settings.
        settings: FBS_ALLOWED_HOSTS, FBS_SECRET_REFERENCES and the default password.

    Returns:
        The host to connect to; see `HostAllowlist.check`.

    Raises:
        HostRefused: the host is not allowed, or not with this password.
        SecretError: the password is a reference that is not allowed.
    """
    allowlist, password = HostAllowlist.of(settings), database.password.get_secret_value()
    default = settings.fbs_default_database_password.get_secret_value()
    files = (path for path in (database.sslrootcert, database.sslcert, database.sslkey) if path and path != "system")
    references = [password] if password.startswith((ENV, FILE)) else []
    for reference in (*references, *(f"{FILE}{path}" for path in files)):
        if not is_reference_allowed(reference, settings):
            raise unresolved(reference)
    checked = [(allowlist.check(host, port), port) for host, port in database.servers]
    host = checked[0][0] if len(checked) == 1 else ",".join(map(host_and_port, checked))
    is_ours = Vault.is_reference(password) or password == default
    if password and is_ours and not all(allowlist.is_named(*server) for server in database.servers):
        raise HostRefused(
            "This host is allowed by its network alone: the server does not send a password of its own there.",
            hint="Send the password itself, or ask the operator of this server to add the host to FBS_ALLOWED_HOSTS.",
        )
    return host


def is_reference_allowed(reference: str, settings: Settings) -> bool:
    """Return whether workers may resolve `env:NAME` or `file:PATH`: as FBS_SECRET_REFERENCES says, or as their default.

    In a path, `*` stands for no `/`.
    """
    if reference == settings.fbs_default_database_password.get_secret_value():
        return True
    for pattern in filter(None, (part.strip() for part in settings.fbs_secret_references.split(","))):
        if reference.startswith(ENV) and fnmatchcase(reference, pattern):
            return True
        path = PurePosixPath(reference.removeprefix(FILE))
        is_file = reference.startswith(FILE) and pattern.startswith(FILE) and ".." not in path.parts
        if is_file and path.match(pattern.removeprefix(FILE)):
            return True
    return False


def _split(entry: str, default_ports: tuple[int, ...]) -> tuple[str, set[int]]:
    """Split `host`, `host:port` or `host:*`; an IPv6 address with a port is in brackets."""
    host, separator, port = entry.rpartition(":")
    if entry.startswith("/"):
        return entry, {_ANY_PORT}
    if not separator or (":" in host and not host.endswith("]") and "]/" not in host):
        return entry, set(default_ports)
    if port == "*":
        return host, {_ANY_PORT}
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"{entry!r} in FBS_ALLOWED_HOSTS has no valid port.", hint=_FORMAT_HINT)
    return host, {int(port)}


def _entries(settings: Settings) -> list[str]:
    """The entries of FBS_ALLOWED_HOSTS."""
    return [entry for part in settings.fbs_allowed_hosts.replace("\n", ",").split(",") if (entry := part.strip())]


def _configured_odoos(settings: Settings) -> Iterator[Address]:
    """The Odoo servers of the settings."""
    for name in settings.odoo_names():
        with suppress(SettingsError):  # reported by the code that connects; a recording has no address
            yield parse_url(settings.odoo(name).url)


def _refuse_blocked(addresses: Iterable[IPAddress]) -> None:
    variants = (variant for address in addresses for variant in _with_embedded(address))
    if any(variant in network for variant in variants for network in BLOCKED_NETWORKS):
        raise HostRefused("This host has a metadata or link-local address.", hint="Such an address is never allowed.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _configured_hosts(settings: Settings) -> Iterable[str]:
    with suppress(UsageError):  # reported by the code that needs the database
        for server in DatabaseConfig.from_url(settings.fbs_database_url).servers:
            yield server[0] if server[0].startswith("/") else host_and_port(server)
    for url in (settings.odoo_url, *(connection.url for connection in settings.fbs_odoo.values())):
        with suppress(ValueError):
            name = urlsplit(url).hostname if "://" in url else None
            if name:
                yield name


def _is_local(settings: Settings) -> bool:
    """Whether the default database and all clients of the API are on this machine."""
    return (
        settings.fbs_default_database_host.startswith("/")
        and is_loopback(settings.fbs_api_address or LOOPBACK)
        and not settings.fbs_api_proxies.strip()
    )


def _normalise(host: str) -> str:
    return host if host.startswith(("/", "@")) else host.strip("[]").rstrip(".").lower()


def _resolve(host: str) -> list[IPAddress]:
    """Resolve a name, or an address in any notation that `connect` accepts; empty if it does not resolve."""
    try:
        results = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        return []
    texts = dict.fromkeys(str(result[4][0]).partition("%")[0] for result in results)
    return [_unmapped(ipaddress.ip_address(text)) for text in texts]


def _unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address of an IPv4-mapped IPv6 address (`::ffff:127.0.0.1`)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _with_embedded(address: IPAddress) -> Iterator[IPAddress]:
    """The address, and the IPv4 addresses to which a tunnel or a translator would send its packets."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 or address in _IPV4_COMPATIBLE:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield address.teredo[1]
