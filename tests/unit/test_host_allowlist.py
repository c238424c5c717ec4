"""Allowlist of database hosts."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import HostRefused, SecretError, SettingsError
from fbs_worker.core.host_allowlist import HostAllowlist, check_database
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.core.vault import unresolved

NAMES = {
    "db.internal": ["10.1.2.3"],
    "two.internal": ["10.1.2.3", "192.0.2.9"],
    "six.internal": ["fd12::5"],
    "metadata.internal": ["169.254.169.254"],
    "localhost": ["127.0.0.1", "::1"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service of the test's own; addresses are read as the system reads them."""
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        found = NAMES.get(host.rstrip(".").lower())
        if found:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]
        return list(real(host, *args, **{**kwargs, "flags": socket.AI_NUMERICHOST}))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def hosts(allowed: str = "", **settings: Any) -> HostAllowlist:
    return HostAllowlist.of(Settings(fbs_allowed_hosts=allowed, **settings))


def test_hosts_of_the_settings_are_allowed_by_default() -> None:
    result = hosts(
        fbs_database_url="postgresql://me:secret@db.example:5433/home",
        fbs_default_database_host="Default.Example",
        odoo_url="https://odoo.example:8443",
        fbs_odoo={"other": OdooConnection(url="http://other.example")},
    )
    for host in ("default.example", "odoo.example", "other.example"):
        assert result.check(host) == host
    for host in ("db.example", "DB.Example."):
        assert result.check(host, 5433) == host
    for host in ("example", "db.internal", "127.0.0.1", "localhost"):
        with pytest.raises(HostRefused):
            result.check(host)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, True),
        ({"fbs_api_address": "::1"}, True),
        ({"fbs_api_address": "0.0.0.0"}, False),
        ({"fbs_api_proxies": "10.0.0.1"}, False),
        ({"fbs_allowed_hosts": "db.internal"}, False),
        ({"fbs_default_database_host": "db.internal"}, False),
    ],
)
def test_a_loopback_only_api_takes_localhost(settings: dict[str, Any], allowed: bool) -> None:
    given: dict[str, Any] = {"fbs_default_database_host": "/sockets", "fbs_postgres_port": 5433, **settings}
    allowlist = HostAllowlist.of(Settings(**given))
    for host, port, checked in (("localhost", 5433, "localhost"), ("localhost", 5432, "127.0.0.1")):
        if allowed:
            assert allowlist.check(host, port) == checked
            assert allowlist.is_named(host, port) == (port == 5433), "passwords of ours go to our server alone"
        else:
            with pytest.raises(HostRefused):
                allowlist.check(host, port)
    with pytest.raises(HostRefused):
        allowlist.check("localhost", 6379)


def test_the_default_host_is_always_allowed() -> None:
    assert hosts("10.0.0.0/8").check("localhost") == "localhost"


def test_a_name_is_allowed_verbatim() -> None:
    result = hosts("db.internal,DB2.internal")
    assert result.check("db.internal") == "db.internal"
    assert result.check("db2.internal") == "db2.internal"
    for other in ("x.db.internal", "db.internal.example", "10.1.2.3", ""):
        with pytest.raises(HostRefused):
            result.check(other)


@pytest.mark.parametrize(("allowed", "host", "meant"), [
    ("10.0.0.0/8", "db.internal", "10.1.2.3"),
    ("10.1.2.3", "db.internal", "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "10.1.2.3"),
    ("10.0.0.0/8", "::ffff:10.1.2.3", "10.1.2.3"),
    ("10.0.0.0/8", "0x0a010203", "10.1.2.3"),
    ("fd00::/8", "six.internal", "fd12::5"),
    ("[fd12::5]", "fd12::5", "fd12::5"),
])  # fmt: skip
def test_a_host_allowed_by_its_network_is_replaced_by_the_checked_address(allowed: str, host: str, meant: str) -> None:
    assert hosts(allowed).check(host) == meant


def test_every_address_of_a_name_must_be_allowed() -> None:
    with pytest.raises(HostRefused):
        hosts("10.0.0.0/8").check("two.internal")


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "metadata.internal",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "::ffff:169.254.169.254",
    "[::ffff:a9fe:a9fe]",
    "64:ff9b::a9fe:a9fe",
    "::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
]


@pytest.mark.parametrize("host", METADATA)
@pytest.mark.parametrize("allowed", ["", "0.0.0.0/0,::/0", "169.254.0.0/16,fe80::/10"])
def test_metadata_and_link_local_addresses_are_never_allowed(host: str, allowed: str) -> None:
    with pytest.raises(HostRefused, match="metadata"):
        hosts(allowed).check(host)


def test_metadata_addresses_are_not_allowed_by_name_either() -> None:
    with pytest.raises(HostRefused, match="metadata"):
        hosts("metadata.internal").check("metadata.internal")


def test_a_socket_folder_is_allowed_verbatim_only() -> None:
    settings = Settings(fbs_database_url="postgresql://:5432/home?host=/run/pg")
    assert check_database(DatabaseConfig(name="x", host="/run/pg"), settings) == "/run/pg"
    for other in ("/run", "/run/pg/", "/run/pg/../other", "@abstract", "/"):
        with pytest.raises(HostRefused, match="socket folder"):
            hosts("/run/pg").check(other)


@pytest.mark.parametrize("password", ["env:RENTAL", "file:/run/secrets/postgres_password", "the-default"])
def test_passwords_of_the_server_are_sent_only_to_hosts_allowed_by_name(password: str) -> None:
    settings = Settings(
        fbs_allowed_hosts="10.1.2.3,10.2.0.0/16",
        fbs_secret_references="env:RENTAL,file:/run/secrets/*",
        fbs_default_database_password=SecretStr("the-default"),
    )
    named = DatabaseConfig(name="x", host="10.1.2.3", password=SecretStr(password))
    assert check_database(named, settings) == "10.1.2.3"
    own = DatabaseConfig(name="x", host="10.2.0.9", password=SecretStr("my own"))
    assert check_database(own, settings) == "10.2.0.9"
    with pytest.raises(
        HostRefused, match="allowed by its network alone: the server does not send a password"
    ) as refused:
        check_database(named.model_copy(update={"host": "10.2.0.9"}), settings)
    assert password not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("host", ["", "no such name", "a" * 300, "ü" * 80, "x\x00y", "10.0.0.1,10.0.0.2", "10.0.0.999"])
def test_an_unresolvable_host_is_rejected(host: str) -> None:
    with pytest.raises(HostRefused):
        hosts("0.0.0.0/0").check(host)


def test_an_error_does_not_disclose_the_allowlist() -> None:
    with pytest.raises(HostRefused) as raised:
        hosts("secret-db.internal").check("db.internal")
    assert "secret-db" not in str(raised.value.to_dict())


def test_an_invalid_network_is_reported() -> None:
    with pytest.raises(SettingsError, match=r"'10\.0\.0\.0/99' in FBS_ALLOWED_HOSTS is not a network\."):
        hosts("10.0.0.0/99")


@pytest.mark.parametrize(("allowed", "host", "ports"), [
    ("db.internal", "db.internal", {5432, 6000}),
    ("db.internal:5440", "db.internal", {5440}),
    ("db.internal:*", "db.internal", {5432, 5440, 6000, 22}),
    ("10.1.2.3:5440", "db.internal", {5440}),
    ("10.0.0.0/8:5440", "db.internal", {5440}),
    ("[fd12::5]:5440", "fd12::5", {5440}),
    ("[fd12::5]", "fd12::5", {5432, 6000}),
    ("fd12::/16", "fd12::5", {5432, 6000}),
    ("[fd12::]/16:5440", "fd12::5", {5440}),
])  # fmt: skip
def test_a_port_is_allowed_with_its_host(allowed: str, host: str, ports: set[int]) -> None:
    allowlist = hosts(allowed, fbs_default_database_port=6000)
    for port in (5432, 5440, 6000, 22):
        if port in ports:
            allowlist.check(host, port)
        else:
            with pytest.raises(HostRefused, match="port"):
                allowlist.check(host, port)


@pytest.mark.parametrize("port", ["0", "x", "65536", "", "-1"])
def test_an_invalid_port_is_reported(port: str) -> None:
    with pytest.raises(SettingsError, match="in FBS_ALLOWED_HOSTS has no valid port"):
        hosts(f"db.internal:{port}")


@pytest.mark.parametrize(("reference", "is_allowed"), [
    ("env:RENTAL_PASSWORD", True),
    ("env:RENTAL_", True),
    ("env:rental_password", False),
    ("env:PGPASSWORD", False),
    ("env:FBS_SECRET_KEYS", False),
    ("file:/run/secrets/a", True),
    ("file:/run/secrets/a/b", False),
    ("file:/run/secrets/..", False),
    ("file:/run/secrets/../a", False),
    ("file:run/secrets/a", False),
    ("file:/etc/passwd", False),
    ("file:/etc/no-such", False),
    ("file:/proc/self/environ", False),
])  # fmt: skip
def test_callers_use_only_the_allowed_references(reference: str, is_allowed: bool) -> None:
    settings = Settings(fbs_secret_references="env:RENTAL_*, file:/run/secrets/*")
    asked = DatabaseConfig(name="x", password=SecretStr(reference))
    for given in (settings, Settings()):
        if is_allowed and given is settings:
            check_database(asked, given)
            continue
        with pytest.raises(SecretError) as refused:
            check_database(asked, given)
        assert refused.value.to_dict() == unresolved(reference).to_dict()
        if reference.startswith("file:"):
            for name in ("sslrootcert", "sslcert", "sslkey"):
                with pytest.raises(SecretError):
                    check_database(DatabaseConfig.parse({"name": "x", name: reference.removeprefix("file:")}), given)
    check_database(asked, Settings(fbs_default_database_password=SecretStr(reference)))  # the operator's own


@pytest.mark.parametrize("value", ["RENTAL_*", "env:", "file:secrets/*", "sealed:x"])
def test_patterns_of_references_are_checked(value: str) -> None:
    with pytest.raises(ValueError, match="fbs_secret_references"):
        Settings(fbs_secret_references=value)
