"""Connections and their errors, on a real PostgreSQL."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg2
import psycopg2.errorcodes
import psycopg2.errors
import pytest
from psycopg2 import sql
from pydantic import SecretStr

from fbs_worker.core import errors
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError
from fbs_worker.core.postgres import Connection, config_of, connect, errors_translated, translate
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema.system_tables import ensure_tables, missing_tables, system_tables
from tests.support.together import Meet, together

PASSWORD = "s3cr3t'\" pässwörd"


@pytest.fixture
def role(postgres: EmbeddedPostgres, database: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """The test's database as a role of few rights, with a password."""
    name = f"role_{database.name}"
    with closing(connect(postgres.config())) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(name)), (PASSWORD,))
        yield database.model_copy(update={"user": name, "password": SecretStr(PASSWORD)})
        with closing(connect(database)) as owner, owner, owner.cursor() as cursor:
            cursor.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def check_no_secret(error: FBSError) -> None:
    assert "s3cr3t" not in str(error.to_dict())
    assert error.hint
    assert "\n" not in error.message


def test_a_connection_says_who_it_is(database: DatabaseConfig) -> None:
    with closing(connect(database, application_name="fbs-test")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('application_name'), 'ü'")
        assert cursor.fetchone() == (database.name, "fbs-test", "ü")
        place = config_of(connection)
        assert place is not None
        assert (place.name, place.host, place.port) == (database.name, database.host, database.port)
    assert config_of(connection) is None


def test_a_password_opens(role: DatabaseConfig) -> None:
    with closing(connect(role)) as connection:
        assert connection.info.user == role.user


def test_a_wrong_password_is_refused(role: DatabaseConfig) -> None:
    for password in ("s3cr3t wrong", ""):
        with pytest.raises(errors.DatabaseLoginRefused) as caught:
            connect(role.model_copy(update={"password": SecretStr(password)}))
        check_no_secret(caught.value)
        assert not caught.value.retryable
        assert role.user in caught.value.message


def test_an_unknown_role_is_refused(database: DatabaseConfig) -> None:
    config = database.model_copy(update={"user": "missing_role", "password": SecretStr(PASSWORD)})
    with pytest.raises(errors.DatabaseLoginRefused) as caught:
        connect(config)
    check_no_secret(caught.value)


def test_a_missing_database_comes_with_the_command_that_makes_it(database: DatabaseConfig) -> None:
    with pytest.raises(errors.DatabaseMissing, match="'no such ü'") as caught:
        connect(database.model_copy(update={"name": "no such ü", "password": SecretStr(PASSWORD)}))
    check_no_secret(caught.value)
    assert 'CREATE DATABASE "no such ü"' in caught.value.hint
    assert database.host in caught.value.hint


def test_a_right_to_connect_that_is_missing(database: DatabaseConfig, role: DatabaseConfig) -> None:
    with closing(connect(database)) as owner, owner, owner.cursor() as cursor:
        cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database.name)))
    with pytest.raises(errors.DatabaseRightsMissing) as caught:
        connect(role)
    check_no_secret(caught.value)
    assert "GRANT CONNECT" in caught.value.hint


def test_a_closed_port_an_unknown_host_and_an_empty_folder(tmp_path: object) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "no-such-host.invalid", str(tmp_path)):
            with pytest.raises(errors.DatabaseUnreachable) as caught:
                connect(DatabaseConfig(name="d", user="u", password=SecretStr(PASSWORD), host=host, port=port))
            check_no_secret(caught.value)
            assert caught.value.retryable is not host.endswith(".invalid")
            assert f"{host}:{port}" in caught.value.message


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = DatabaseConfig(name="d", host="127.0.0.1", port=server.getsockname()[1], password=SecretStr(PASSWORD))
        with pytest.raises(errors.DatabaseUnreachable, match="timeout") as caught:
            connect(config, connect_timeout=2)
        check_no_secret(caught.value)


def test_a_server_that_is_not_postgresql_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):  # how accept ends when the socket is shut down below
                while True:  # libpq may try again without encryption
                    with server.accept()[0] as peer:
                        peer.recv(1024)
                        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(errors.DatabaseUnreachable):
                connect(DatabaseConfig(name="d", user="u", host="127.0.0.1", port=server.getsockname()[1]))
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_connection_lost_in_mid_query(database: DatabaseConfig, connection: Connection) -> None:
    cursor = connection.cursor()
    with pytest.raises(errors.DatabaseUnreachable) as caught, errors_translated(connection):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.retryable
    assert database.name in caught.value.message
    with pytest.raises(errors.DatabaseUnreachable), errors_translated(connection):
        connection.cursor()


def test_locks_and_timeouts_are_busy(database: DatabaseConfig, connection: Connection) -> None:
    with closing(connect(database)) as other, connection.cursor() as cursor, other.cursor() as waiting:
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        waiting.execute("SET LOCAL lock_timeout = '10ms'")
        with pytest.raises(errors.DatabaseBusy) as caught, errors_translated(other):
            waiting.execute("SELECT pg_advisory_xact_lock(1)")
        assert caught.value.context == {"sqlstate": "55P03"}
        other.rollback()
        waiting.execute("SET LOCAL statement_timeout = '10ms'")
        with pytest.raises(errors.DatabaseBusy, match="cancelled a statement") as caught, errors_translated(other):
            waiting.execute("SELECT pg_advisory_xact_lock(1)")
        assert "statement_timeout" in caught.value.hint


def test_a_limit_of_the_role_is_named_and_its_quoting_is_not_used(database: DatabaseConfig) -> None:
    with closing(connect(database)) as admin, admin, admin.cursor() as cursor:
        for setting in ("statement_timeout = '200ms'", "quote_all_identifiers = on"):
            cursor.execute(sql.SQL("ALTER DATABASE {} SET " + setting).format(sql.Identifier(database.name)))
    with closing(connect(database)) as connection:
        for existing in (False, True):
            with connection:
                assert bool(ensure_tables(connection, "fbs_")) is not existing
        with pytest.raises(errors.DatabaseBusy) as caught, errors_translated(connection), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(9)")
    assert "Blocked" not in caught.value.message
    assert "statement_timeout" in caught.value.hint


def test_other_errors_are_database_errors_without_details(connection: Connection) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE t (a TEXT UNIQUE)")
    with pytest.raises(errors.DatabaseError) as caught, errors_translated(connection):
        cursor.execute("INSERT INTO t VALUES ('s3cr3t'), ('s3cr3t')")
    assert type(caught.value) is errors.DatabaseError
    assert "t_a_key" in caught.value.message
    check_no_secret(caught.value)
    assert isinstance(caught.value.__cause__, psycopg2.Error)


KINDS = {
    "08006": errors.DatabaseUnreachable,
    "08P01": errors.DatabaseUnreachable,
    "25006": errors.DatabaseError,
    "25P03": errors.DatabaseUnreachable,
    "28000": errors.DatabaseLoginRefused,
    "28P01": errors.DatabaseLoginRefused,
    "3D000": errors.DatabaseMissing,
    "40001": errors.DatabaseBusy,
    "40P01": errors.DatabaseBusy,
    "42501": errors.DatabaseRightsMissing,
    "42P01": errors.DatabaseError,
    "53100": errors.DatabaseError,
    "53300": errors.DatabaseUnreachable,
    "55006": errors.DatabaseBusy,
    "55P03": errors.DatabaseBusy,
    "57014": errors.DatabaseBusy,
    "57P01": errors.DatabaseUnreachable,
    "57P03": errors.DatabaseUnreachable,
    "57P04": errors.DatabaseMissing,
    "XX000": errors.DatabaseError,
}


def with_sqlstate(sqlstate: str) -> psycopg2.Error:
    """psycopg2 sets `pgcode` itself; an instance made here gets it from its class."""
    made: psycopg2.Error = type("Made", (psycopg2.DatabaseError,), {"pgcode": sqlstate})("it went wrong\nDETAIL:  more")
    return made


def test_every_error_of_the_driver_becomes_one_of_ours() -> None:
    place = DatabaseConfig(name="d", user="u", password=SecretStr(PASSWORD))
    kinds = [kind for kind in vars(psycopg2.errors).values() if isinstance(kind, type)]
    raised = [kind("it went wrong\nDETAIL:  more") for kind in kinds if issubclass(kind, psycopg2.Error)]
    codes = [code for code in vars(psycopg2.errorcodes).values() if isinstance(code, str) and len(code) == 5]
    raised += [with_sqlstate(code) for code in codes]
    assert len(raised) > 400
    for exc in raised:
        for where in (place, None):
            error = translate(exc, where)
            assert isinstance(error, FBSError)
            check_no_secret(error)


def test_too_many_tables_at_once_name_the_setting_that_helps(database: DatabaseConfig) -> None:
    statement = "DO $$ BEGIN FOR i IN 1..60000 LOOP PERFORM pg_advisory_xact_lock(i); END LOOP; END $$"
    with (
        closing(connect(database)) as connection,
        connection.cursor() as cursor,
        pytest.raises(errors.DatabaseError) as caught,
        errors_translated(connection),
    ):
        cursor.execute(statement)
    assert caught.value.context == {"sqlstate": "53200"}
    assert "max_locks_per_transaction" in caught.value.hint


@pytest.mark.parametrize(("sqlstate", "expected"), KINDS.items())
def test_the_sqlstate_decides(sqlstate: str, expected: type[FBSError]) -> None:
    error = translate(with_sqlstate(sqlstate), DatabaseConfig(name="d"))
    assert type(error) is expected
    assert error.context == {"sqlstate": sqlstate}
    check_no_secret(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FATAL:  sorry, too many clients already", errors.DatabaseUnreachable),
        ("FATAL:  the database system is starting up", errors.DatabaseUnreachable),
        ("FATAL:  the database system is not yet accepting connections", errors.DatabaseUnreachable),
        ('FATAL:  password authentication failed for user "u"', errors.DatabaseLoginRefused),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u"', errors.DatabaseLoginRefused),
        ("fe_sendauth: no password supplied", errors.DatabaseLoginRefused),
        ('FATAL:  role "u" is not permitted to log in', errors.DatabaseLoginRefused),
        ('FATAL:  database "d" does not exist', errors.DatabaseMissing),
        ('FATAL:  permission denied for database "d"\nDETAIL:  User does not have ...', errors.DatabaseRightsMissing),
        ("FATALE:  qualcosa in un'altra lingua", errors.DatabaseError),
        ("Connection refused\n\tIs the server running on that host?", errors.DatabaseUnreachable),
        ("timeout expired", errors.DatabaseUnreachable),
        (
            'could not translate host name "h" to address: Temporary failure in name resolution',
            errors.DatabaseUnreachable,
        ),
        ('could not translate host name "h" to address: Name or service not known', errors.DatabaseHostUnknown),
        ("SSL error: certificate verify failed", errors.DatabaseTLSFailed),
        ("server does not support SSL, but SSL was required", errors.DatabaseTLSFailed),
        ('root certificate file "/x" does not exist\nEither provide the file', errors.DatabaseTLSFailed),
        ("SSL connection has been closed unexpectedly", errors.DatabaseUnreachable),
        ("SSL SYSCALL error: EOF detected", errors.DatabaseUnreachable),
        ("", errors.DatabaseUnreachable),
    ],
)
def test_without_a_sqlstate_the_text_decides(text: str, expected: type[FBSError]) -> None:
    raised = psycopg2.OperationalError(f'connection to server at "h" (10.0.0.9), port 5432 failed: {text}\n')
    error = translate(raised, DatabaseConfig(name="d", user="u", host="h"))
    assert type(error) is expected
    check_no_secret(error)
    assert "connection to server" not in error.message


@pytest.mark.parametrize("prefix", ["fbs_", "_", "order_", "x" * 20])
def test_system_tables_are_made_once(connection: Connection, prefix: str) -> None:
    with connection:
        assert len(missing_tables(connection, prefix)) == 2
        assert ensure_tables(connection, prefix)
        assert not ensure_tables(connection, prefix)
    with connection, connection.cursor() as cursor:
        assert not ensure_tables(connection, prefix)
        cursor.execute(
            sql.SQL("INSERT INTO {} (discovery_type, domain, name) VALUES ('a', 'b', 'c') RETURNING *").format(
                sql.Identifier(f"{prefix}discoveries")
            )
        )
        row = cursor.fetchone()
        assert row is not None
        assert row[:8] == (1, "a", "b", "c", "1.0", {}, None, True)
        assert all(row[8:])


def test_the_columns_are_those_of_the_design(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        ensure_tables(connection, "fbs_")
        cursor.execute(
            """
            SELECT column_name, data_type, character_maximum_length, is_nullable, column_default
            FROM information_schema.columns WHERE table_name = 'fbs_discoveries' ORDER BY ordinal_position
            """
        )
        now, stamp = "now()", "timestamp without time zone"
        assert cursor.fetchall() == [
            ("id", "integer", None, "NO", "nextval('fbs_discoveries_id_seq'::regclass)"),
            ("discovery_type", "character varying", 50, "NO", None),
            ("domain", "character varying", 100, "NO", None),
            ("name", "character varying", 100, "NO", None),
            ("version", "character varying", 20, "YES", "'1.0'::character varying"),
            ("metadata", "jsonb", None, "YES", "'{}'::jsonb"),
            ("schema_definition", "jsonb", None, "YES", None),
            ("is_active", "boolean", None, "YES", "true"),
            ("created_at", stamp, None, "YES", now),
            ("updated_at", stamp, None, "YES", now),
            ("discovered_at", stamp, None, "YES", now),
        ]
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'fbs_discoveries'::regclass AND contype IN ('p', 'u') ORDER BY contype"
        )
        assert cursor.fetchall() == [("PRIMARY KEY (id)",), ("UNIQUE (discovery_type, domain, name, version)",)]
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'fbs_%'")
        assert cursor.fetchone() == (8,)


@pytest.mark.parametrize(
    "foreign",
    [
        "CREATE TABLE fbs_discoveries (id INT)",
        "CREATE VIEW fbs_discoveries AS SELECT 1 AS id",
        "CREATE TABLE fbs_snapshots ()",
        "CREATE SEQUENCE fbs_snapshots",
    ],
)
def test_a_table_that_is_not_ours_is_left_alone(connection: Connection, foreign: str) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(foreign)
    with pytest.raises(errors.ForeignTableError) as caught, connection:
        ensure_tables(connection, "fbs_")
    assert "fbs_" in caught.value.message
    assert "--table-prefix" in caught.value.hint
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^fbs_(discoveries|snapshots)$'")
        assert cursor.fetchone() == (1,)


def test_one_of_our_tables_with_another_column_is_not_ours(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        ensure_tables(connection, "fbs_")
        cursor.execute("ALTER TABLE fbs_discoveries ALTER COLUMN name TYPE VARCHAR(200), ADD COLUMN more INT")
        with pytest.raises(errors.ForeignTableError, match="more, name"):
            missing_tables(connection, "fbs_")


def test_what_fails_leaves_nothing(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE unrelated ()")
        cursor.execute("CREATE INDEX fbs_snapshots_domain_idx ON unrelated ((1))")
    with pytest.raises(errors.DatabaseError), errors_translated(connection), connection:
        ensure_tables(connection, "fbs_")
    with connection:
        assert len(missing_tables(connection, "fbs_")) == 2


def test_tables_that_may_not_be_made(role: DatabaseConfig) -> None:
    with closing(connect(role)) as connection:
        with pytest.raises(errors.DatabaseRightsMissing, match="public") as caught, connection:
            ensure_tables(connection, "fbs_")
        assert f'GRANT CREATE ON SCHEMA "public" TO "{role.user}"' in caught.value.hint
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = nowhere")
        with pytest.raises(errors.DatabaseRightsMissing, match="no schema"), connection:
            missing_tables(connection, "fbs_")


def test_tables_of_another_role_may_not_be_read(connection: Connection, role: DatabaseConfig) -> None:
    with connection:
        ensure_tables(connection, "fbs_")
    with closing(connect(role)) as other:
        cursor = other.cursor()
        with pytest.raises(errors.DatabaseRightsMissing) as caught, errors_translated(other):
            cursor.execute("SELECT * FROM fbs_discoveries")
    assert "--table-prefix" in caught.value.hint


def test_two_sessions_make_the_tables_at_once(database: DatabaseConfig) -> None:
    def make(_number: int, meet: Meet) -> bool:
        with closing(connect(database)) as connection:
            meet()
            with connection:
                return ensure_tables(connection, "fbs_")

    assert set(together(make, range(2))) == {False, True}


def test_a_prefix_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="lower-case letters"):
        system_tables('x"; DROP TABLE y; --')
