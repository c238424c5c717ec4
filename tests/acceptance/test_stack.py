"""The local stack: state file, filled settings, start and stop, signals and locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import JobError, QueueUnreachable, SettingsError
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.core.sockets import LOOPBACK, listening
from fbs_worker.ops.local import stack
from fbs_worker.ops.local.embedded import EmbeddedPostgres, EmbeddedRedis
from fbs_worker.ops.local.processes import ProcessRef, exit_on_termination, file_lock, signals_deferred
from fbs_worker.ops.local.programs import Program, settings_environment
from fbs_worker.ops.local.state import Service, StackInfo, database_url, effective_settings, find_stack, write_stack
from tests.support.servers import describe, processes_about
from tests.support.waiting import PATIENCE, until

MakeSettings = Callable[..., Settings]


def info_of(home: Path, **changes: Any) -> StackInfo:
    info = StackInfo(
        home=home,
        redis_url="redis://:pw@127.0.0.1:7/0",
        database_url="postgresql://postgres@:5432/fbs?host=%2Fsockets",
        secret_keys="key",
        services=(Service(name="worker", address="log", process=ProcessRef.of(os.getpid())),),
    )
    return replace(info, **changes)


@pytest.mark.parametrize(
    "config",
    [
        DatabaseConfig(name="shop", user="me", password=SecretStr("p@ss/w:rd%"), host="db.example", port=6543),
        DatabaseConfig(name="my shop?", user="", host="127.0.0.1"),
        DatabaseConfig(name="shop", user="postgres", host="/run/My Folder/pg&x", port=5433),
        DatabaseConfig(name="shop", host="/run/postgresql"),
    ],
)
def test_a_database_url_round_trip(config: DatabaseConfig) -> None:
    assert DatabaseConfig.from_url(database_url(config)) == config


def test_settings_survive_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(
        odoo_url="http://odoo.example",
        odoo_password=SecretStr("se=cret"),
        fbs_odoo={"other": OdooConnection(url="https://x", api_key=SecretStr("k"), timeout=3)},
        fbs_home=tmp_path,
        fbs_page_size=500,
    )
    environment = settings_environment(settings)
    assert "FBS_REDIS_URL" not in environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_running_stack_fills_unset_settings(tmp_path: Path) -> None:
    write_stack(info_of(tmp_path))
    settings = effective_settings(Settings(fbs_home=tmp_path))
    assert settings.fbs_redis_url == "redis://:pw@127.0.0.1:7/0"
    assert settings.fbs_secret_keys.get_secret_value() == "key"
    assert DatabaseConfig.from_url(settings.fbs_database_url).host == "/sockets"
    assert (settings.fbs_default_database_host, settings.fbs_default_database_user) == ("/sockets", "postgres")

    mine, own = "postgresql://db.example/x", "postgresql://postgres:pw@127.0.0.1:5433/fbs"
    for info, host in (
        (info_of(tmp_path, address_url=own), "/sockets"),
        (info_of(tmp_path, database_url=mine), "localhost"),
    ):
        write_stack(replace(info, address_url=info.address_url or mine))
        url = own if host == "/sockets" else mine
        settings = effective_settings(Settings(fbs_home=tmp_path, fbs_database_url=url))
        assert settings.fbs_default_database_host == host, "`fbs env` names our server; another one is not ours"
    write_stack(info_of(tmp_path))
    settings = effective_settings(Settings(fbs_home=tmp_path, fbs_redis_url="redis://mine:1/0"))
    assert settings.fbs_redis_url == "redis://mine:1/0"
    settings = effective_settings(Settings(fbs_home=tmp_path, fbs_default_database_host="db.example"))
    assert (settings.fbs_default_database_host, settings.fbs_default_database_user) == ("db.example", "")
    settings = effective_settings(Settings(fbs_home=tmp_path, fbs_database_url="postgresql://db.example/x"))
    assert settings.fbs_default_database_host == "localhost"


def test_a_stack_shows_no_secret(tmp_path: Path) -> None:
    write_stack(info_of(tmp_path))
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert "pw" not in repr(find_stack(tmp_path))
    assert "key" not in repr(find_stack(tmp_path)).replace("secret_keys", "")


@pytest.mark.parametrize("change", ["gone", "recycled", "never"])
def test_a_stack_with_a_dead_worker_is_not_found(tmp_path: Path, change: str) -> None:
    process = ProcessRef.of(os.getpid())
    assert process is not None
    if change == "gone":
        process = replace(process, pid=2**22 + 1)
    if change == "recycled":
        process = replace(process, started=1.0)
    if change != "never":
        write_stack(info_of(tmp_path, services=(Service(name="worker", address="", process=process),)))
    assert find_stack(tmp_path) is None
    assert effective_settings(Settings(fbs_home=tmp_path)).fbs_redis_url == ""


def test_down_never_stops_a_process_with_a_reused_id(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = ProcessRef(pid=bystander.pid, started=1.0)
        write_stack(info_of(tmp_path, services=(Service(name="worker", address="", process=process),)))
        assert stack.down(tmp_path) == []
        assert bystander.poll() is None
        assert not (tmp_path / "stack.json").exists()
    finally:
        bystander.communicate()


def test_with_external_servers_only_the_worker_is_started_and_stopped(
    settings: MakeSettings, redis_server: EmbeddedRedis, postgres: EmbeddedPostgres
) -> None:
    ours = settings()
    info, started = stack.up(ours, programs=("worker",))
    try:
        assert [program.name for program in started] == ["worker"]
        assert [service.process is None for service in info.services] == [True, True, False]
        assert stack.has_current_settings(info, ours)
        assert not stack.has_current_settings(info, settings(odoo_url="http://other"))
        again, second = stack.up(ours, programs=("worker",))
        assert second == []
        assert again.services == find_stack(ours.home()).services  # type: ignore[union-attr]
    finally:
        assert stack.down(ours.home()) == ["worker"]
    assert redis_server.process.alive
    assert postgres.process.alive
    assert not processes_about(ours.home())


def test_started_parts_are_stopped_when_a_later_one_fails(run_folder: Path) -> None:
    home = run_folder / "half"
    with pytest.raises(QueueUnreachable):
        stack.up(Settings(fbs_home=home, fbs_redis_url="redis://127.0.0.1:1/0"))
    assert EmbeddedPostgres.find(home / "postgres") is None
    with pytest.raises(JobError, match="`fbs worker` ended at its start: The time limit of a job"):
        stack.up(Settings(fbs_home=home, fbs_visibility_timeout=20), programs=("worker",))
    assert EmbeddedPostgres.find(home / "postgres") is None
    assert EmbeddedRedis.find(home / "redis") is None
    assert find_stack(home) is None


def test_a_port_that_was_free_at_the_start_is_still_the_programs(
    settings: MakeSettings, redis_server: EmbeddedRedis
) -> None:
    ours = settings()
    with ExitStack() as others:

        def take_the_port(name: str) -> None:
            if name == "api":
                with suppress(OSError):  # it is taken: by ours, or by another test's
                    others.enter_context(listening(LOOPBACK, ours.fbs_api_port))

        try:
            info, _ = stack.up(ours, programs=("api",), on_start=take_the_port)
            api = info.service("api")
            assert api is not None
            assert httpx.get(f"{api.address}/api/v1/solutions/", timeout=PATIENCE).status_code == HTTPStatus.OK
        finally:
            stack.down(ours.home())


def test_a_configured_port_that_is_taken_is_said(settings: MakeSettings, redis_server: EmbeddedRedis) -> None:
    with listening(LOOPBACK, 0) as other:
        port = other.getsockname()[1]
        ours = settings(fbs_flower_port=port)
        with pytest.raises(SettingsError, match=f"Port {port} of 127.0.0.1 is in use") as caught:
            stack.up(ours, programs=("worker", "flower"))
    assert caught.value.hint == "Set FBS_FLOWER_PORT to another one; 0 selects a free one."
    assert not processes_about(ours.home())


@pytest.mark.faults
def test_a_killed_worker_leaves_no_children(settings: MakeSettings, tmp_path: Path) -> None:
    worker = Program.start("worker", "--concurrency=2", settings=settings(), log=tmp_path / "log")
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.process.wait(10)
    worker.stop()
    until(lambda: not processes_about(settings().home()), lambda: describe(processes_about(settings().home())))


def test_a_held_lock_raises_without_waiting(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"), pytest.raises(BlockingIOError), file_lock(tmp_path / "lock", wait=False):
        pass
    with file_lock(tmp_path / "lock", wait=False):
        pass


def test_a_signal_is_deferred_until_the_end_of_the_block() -> None:
    done = []

    def work(number: signal.Signals) -> None:
        with exit_on_termination(), signals_deferred(), signals_deferred():
            signal.raise_signal(number)
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        work(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        work(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM
    assert done == [signal.SIGINT, signal.SIGTERM]


def test_the_state_file_is_indented_json(tmp_path: Path) -> None:
    write_stack(info_of(tmp_path))
    document = json.loads((tmp_path / "stack.json").read_text())
    assert document["services"][0]["process"]["pid"] == os.getpid()
