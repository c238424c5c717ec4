"""Settings come from the environment, or from the files of NAME_FILE."""

from __future__ import annotations

from pathlib import Path

import pytest

from fbs_worker.cli.app import run
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import Settings, load_settings

SECRET = "vErY-secret-9"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_may_come_from_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {
        "odoo_protocol": "json2",
        "fbs_log_format": "json",
        "fbs_api_max_body": "2000",
        "fbs_auto_create_tables": "false",
        "fbs_enable_migrations": "false",
        "fbs_sync_binary": "true",
        "fbs_sync_keep_deleted": "true",
        "fbs_root_path": "/fbs",
        "fbs_flower_root_path": "/flower",
        "fbs_secret_references": "env:RENTAL_*",
        "fbs_odoo": '{"staging": {"url": "http://staging"}}',
    }.get(name, "200")
    file = tmp_path / "value"
    file.write_text(value)
    monkeypatch.setenv(name.upper(), value)
    expected = load_settings()
    monkeypatch.delenv(name.upper())
    assert load_settings() != expected
    monkeypatch.setenv(f"{name.upper()}_FILE", str(file))
    assert load_settings() == expected


def test_a_line_end_is_not_part_of_a_secret(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODOO_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("ODOO_PASSWORD", "")  # compose files hand over what is not set as empty
    settings = load_settings()
    assert settings.odoo_password.get_secret_value() == SECRET
    assert SECRET not in repr(settings)


def test_further_odoos_have_files_too(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_ODOO__STAGING__URL", "https://staging.example.com")
    monkeypatch.setenv("FBS_ODOO__STAGING__API_KEY_FILE", str(secret))
    staging = load_settings().odoo("staging")
    assert (staging.url, staging.api_key.get_secret_value()) == ("https://staging.example.com", SECRET)


def test_a_file_may_be_empty_or_unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.setenv("ODOO_API_KEY_FILE", str(tmp_path / "empty"))
    monkeypatch.setenv("ODOO_PASSWORD_FILE", "")
    monkeypatch.setenv("ODOO_PASSWORD", SECRET)
    assert load_settings().odoo_api_key.get_secret_value() == ""
    assert load_settings().odoo_password.get_secret_value() == SECRET


def test_a_value_and_a_file_exclude_each_other(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_SECRET_KEYS", "something")
    monkeypatch.setenv("FBS_SECRET_KEYS_FILE", str(secret))
    with pytest.raises(SettingsError, match="Both FBS_SECRET_KEYS and FBS_SECRET_KEYS_FILE are set") as caught:
        load_settings()
    assert "something" not in f"{caught.value} {caught.value.hint}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_REDIS_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"missing' of FBS_REDIS_URL_FILE cannot be read: No such file"):
        load_settings()


@pytest.mark.parametrize(("content", "reason"), [(b"\xff", "it is not text"), (b"a" * 70_000, "is too large")])
def test_a_file_without_a_secret_is_an_error(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd").write_bytes(content)
    monkeypatch.setenv("FBS_REDIS_URL_FILE", str(tmp_path / "odd"))
    with pytest.raises(SettingsError, match=reason):
        load_settings()


def test_a_value_from_a_file_is_not_repeated_when_it_is_wrong(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_PAGE_SIZE_FILE", str(secret))
    with pytest.raises(SettingsError, match="FBS_PAGE_SIZE is not valid") as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_other_programs_files_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", "/nowhere")
    monkeypatch.setenv("FBS_SOMETHING_FILE", "/nowhere")
    load_settings()


@pytest.mark.parametrize("broken", ["{", "[1]", "no"])
def test_odoos_that_are_not_json_are_a_settings_error(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_ODOO", broken)
    with pytest.raises(SettingsError, match="FBS_ODOO is not valid"):
        load_settings()


PORTS = [name.upper() for name in Settings.model_fields if name.endswith("_port")]


@pytest.mark.parametrize("link", ["tcp://10.96.12.3:8000", "tcp://[fd00::3]:8000", "udp://10.96.12.3:53"])
@pytest.mark.parametrize("name", PORTS)
def test_a_service_link_of_kubernetes_is_no_port(name: str, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, link)
    assert load_settings() == Settings()
    assert not load_settings().model_fields_set


@pytest.mark.parametrize("value", ["tcp://", "http://10.96.12.3:8000", "tcp://10.96.12.3:8000 x", "eighty"])
def test_what_is_neither_a_port_nor_a_service_link_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FBS_API_PORT", value)
    with pytest.raises(SettingsError, match="FBS_API_PORT is not valid"):
        load_settings()


@pytest.mark.parametrize(
    "command", [["api"], ["flower"], ["metrics"], ["setup", "--solution-name", "demo"]], ids=" ".join
)
def test_service_links_stop_no_command(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*PORTS, "FBS_METRICS_PORT", "FBS_DATABASE_PORT"):
        monkeypatch.setenv(name, "tcp://10.96.12.3:8000")
    assert run(command) == 2
    assert "port" not in capsys.readouterr().err.lower()


@pytest.mark.parametrize("prefix", ["/api", "/api/fbs", "/mcp/", "/static"])
def test_a_prefix_is_no_path_of_the_server_itself(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("FBS_ROOT_PATH", prefix)
    with pytest.raises(SettingsError, match="FBS_ROOT_PATH is not valid: it begins with a path that the server has"):
        load_settings()
