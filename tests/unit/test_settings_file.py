"""`fbs.env`: what is read from it, and from where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fbs_worker.cli.app import run
from fbs_worker.core.errors import SettingsError
from fbs_worker.core.settings import load_settings
from fbs_worker.core.settings_file import find_settings_file, origin, quoted

SECRET = "vErY-secret-9"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; FBS_HOME is another one."""
    monkeypatch.delenv("FBS_ENV_FILE")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("FBS_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "fbs.env"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_environment_counts_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = folder / "secret"
    secret.write_text("of a file")
    home = write(folder.parent / "home", "ODOO_URL=http://home\n")
    assert (load_settings().odoo_url, origin("odoo_url")) == ("http://home", str(home))
    file = write(
        folder,
        f"# of ours\nODOO_URL=http://here\nexport ODOO_PASSWORD='{SECRET}'\nFBS_ODOO__TWO__URL = http://two # x\n",
    )
    settings = load_settings()
    assert (settings.odoo_url, settings.odoo_password.get_secret_value()) == ("http://here", SECRET)
    assert settings.odoo("two").url == "http://two"
    assert SECRET not in repr(find_settings_file())
    assert [origin(name) for name in ("odoo_password", "fbs_odoo", "fbs_home", "odoo_db")] == [
        *(str(file), str(file), "the environment", "default")
    ]
    monkeypatch.setenv("ODOO_URL", "")
    monkeypatch.setenv("ODOO_PASSWORD_FILE", str(secret))
    settings = load_settings()
    assert (settings.odoo_url, settings.odoo_password.get_secret_value()) == ("", "of a file")
    assert [origin(name) for name in ("odoo_url", "odoo_password")] == ["the environment"] * 2
    monkeypatch.setenv("FBS_ENV_FILE", str(home))
    monkeypatch.delenv("ODOO_URL")
    assert load_settings().odoo_url == "http://home"
    monkeypatch.setenv("FBS_ENV_FILE", "")
    assert load_settings().odoo_url == ""


@pytest.mark.parametrize(
    "value", ["", "plain", "a b", "it's", 'say "x"', "$HOME `x` \\n", "a#b", " #", "ünï", "a\nb", "'\""]
)
def test_what_is_quoted_is_read_again(value: str, folder: Path) -> None:
    write(folder, f"ODOO_PASSWORD={quoted(value)}\n")
    assert load_settings().odoo_password.get_secret_value() == value


@pytest.mark.parametrize("line", ["nonsense", "A B=c", "ODOO_DB='x", 'ODOO_DB="x', "ODOO_DB='x' y"])
def test_a_line_that_is_none_is_named_and_not_shown(line: str, folder: Path) -> None:
    file = write(folder, f"\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message == f"Line 2 of {file} is not NAME=value."


def test_the_demo_reads_none(folder: Path) -> None:
    write(folder, "nonsense\n")
    assert run(["version"]) == 2
    assert run(["demo", "--help"]) == 0


def test_a_wrong_value_is_said_with_its_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(folder, "FBS_PAGE_SIZE=few\n")
    assert run(["list"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"hint: Correct FBS_PAGE_SIZE in {file}."
    os.environ.pop("FBS_PAGE_SIZE")


@pytest.mark.parametrize("trouble", ["owner", "writable", "link", "folder"])
def test_a_file_of_others_is_not_read(
    trouble: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder.parent / "home", "ODOO_URL=http://home\n")
    file = folder / "fbs.env"
    if trouble == "folder":
        file.mkdir()
    else:
        write(folder, "ODOO_URL=http://evil\n", 0o622 if trouble == "writable" else 0o600)
    if trouble in {"owner", "link"}:
        if trouble == "link":
            file.rename(folder / "target")
            file.symlink_to(folder / "target")
        if os.geteuid() == 0:
            os.chown(file, 12345, 12345, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
            monkeypatch.setenv("FBS_HOME", "/nowhere")
    assert load_settings().odoo_url == ("http://home" if os.geteuid() != 12345 else "")
    load_settings()
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"The file {file} is not read: ")
    monkeypatch.setenv("FBS_ENV_FILE", str(file))
    with pytest.raises(SettingsError, match="is not read"):
        load_settings()


def test_what_is_doubtful_is_warned_about(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(folder, "ODOO_URL=http://here\nHTTPS_PROXY=x\n", 0o644)
    assert load_settings().odoo_url == "http://here"
    assert [record.getMessage() for record in caplog.records] == [
        f"The file {file} can be read by other users: chmod 600 {file}",
        f"HTTPS_PROXY in line 2 of {file} is not a setting: it is ignored.",
    ]
    file.unlink()
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="it is not text"):
        load_settings()
