"""Whom PostgreSQL's passwords are shown to, and how the options of libpq reach it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig, host_and_port
from fbs_worker.core.errors import DatabaseLoginRefused, DatabaseTLSFailed
from fbs_worker.core.postgres import connect
from fbs_worker.core.vault import Vault, new_key
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import database_url
from tests.support.pgbouncer import PASSWORD, PROGRAM, pgbouncer

CLEAR_TEXT = struct.pack("!cII", b"R", 8, 3)
MD5 = struct.pack("!cII4s", b"R", 12, 5, b"salt")


@contextmanager
def listener(question: bytes) -> Iterator[tuple[DatabaseConfig, list[bytes]]]:
    """A server that answers PostgreSQL's start-up with a question, and notes what it is told."""
    told: list[bytes] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while b"user\0" not in (packet := connection.recv(1000)) and packet:
                connection.sendall(b"N")  # no TLS, no GSS
            connection.sendall(question)
            told.append(connection.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        yield DatabaseConfig(name="d", user="u", host="127.0.0.1", port=server.getsockname()[1]), told
        thread.join(10)


@pytest.mark.parametrize("question", [CLEAR_TEXT, MD5])
@pytest.mark.parametrize("kept", ["stored", "referenced"])
def test_a_listener_does_not_get_a_password(kept: str, question: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENTAL_PASSWORD", PASSWORD)
    vault = Vault.from_text(new_key())
    secret = vault.encrypt(PASSWORD) if kept == "stored" else "env:RENTAL_PASSWORD"
    with listener(question) as (place, told):
        resolved = place.model_copy(update={"password": SecretStr(secret)}).resolved(vault)
        with pytest.raises(DatabaseLoginRefused) as caught:
            connect(resolved)
    assert told == [b""]
    assert "SCRAM" in caught.value.hint


@pytest.fixture(scope="module")
def secure(postgres: EmbeddedPostgres) -> Iterator[DatabaseConfig]:
    """A server with TLS that takes a password by SCRAM."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed")
    with pgbouncer(postgres.config(), tls=True) as place:
        yield place


def test_a_stored_password_opens_by_scram_over_tls(secure: DatabaseConfig) -> None:
    vault = Vault.from_text(new_key())
    for options in ({"sslmode": "verify-full"}, {"sslmode": "require", "channel_binding": "disable"}):
        place = DatabaseConfig.parse({**secure.redacted(), **options, "password": vault.encrypt(PASSWORD)})
        with closing(connect(place.resolved(vault), application_name="fbs-worker x")) as connection:
            assert connection.info.ssl_in_use


def test_a_url_has_the_options_of_libpq(secure: DatabaseConfig) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hosts = ",".join(map(host_and_port, [closed.getsockname(), *secure.servers]))
        options = {"host": hosts, "sslmode": "verify-ca", "target_session_attrs": "any", "application_name": "shop"}
        url = database_url(secure.model_copy(update=options)).replace("postgresql://", "postgresql+psycopg2://")
        with closing(connect(DatabaseConfig.from_url(url))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('application_name')")
            assert cursor.fetchall() == [("shop",)]


def test_what_tls_fails_at_is_named(secure: DatabaseConfig) -> None:
    missing = {"sslmode": "verify-full", "sslrootcert": "/etc/no-such"}
    no_certificate = {"sslmode": "verify-full", "sslrootcert": "/etc/passwd"}
    reasons = set()
    for options in (missing, no_certificate):
        with pytest.raises(DatabaseTLSFailed) as caught:
            connect(secure.model_copy(update=options))
        reasons.add(caught.value.message)
        assert not caught.value.retryable
        assert "sslrootcert" in caught.value.hint
    assert len(reasons) == 1  # it does not tell which files there are
    with pytest.raises(DatabaseTLSFailed, match="certificate"):
        connect(secure.model_copy(update={"sslmode": "verify-full", "sslrootcert": "system"}))
    with pytest.raises(DatabaseTLSFailed, match="SSL required"):
        connect(secure.model_copy(update={"sslmode": "disable"}))
