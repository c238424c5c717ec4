"""The wheel and the source distribution, and programs of the installed wheel where others have modules of common names.

A folder with a `tasks.py` is where every Celery tutorial begins, `connectors` is a distribution of the index, and a Django
project calls an app `tasks`. All processes here run an unpacked wheel, not the checkout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.programs import settings_environment
from tests.acceptance.conftest import SCRIPT, CommandLine, command_line
from tests.conftest import MakeSettings
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.wheel

ROOT: Final = Path(__file__).parents[2]

TASKS: Final = """\
from celery import shared_task


@shared_task
def add(x, y):
    return x + y
"""
"""The module `tasks` of Celery's documentation."""

MANAGE: Final = """\
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
execute_from_command_line(sys.argv)
"""
DJANGO_SETTINGS: Final = """\
import os

SECRET_KEY = "of a test"
INSTALLED_APPS = ["fbs_worker.contrib.django", "tasks"]
DATABASES = {}
USE_TZ = True
FBS_CONFIG = {"default_database_config": {name: os.environ["DB_" + name.upper()] for name in ("host", "port", "user")}}
"""


def build(source: Path, target: str, folder: Path) -> Path:
    """Build a distribution without a network and without an environment of its own.

    Args:
        source: the project's folder.
        target: `wheel` or `sdist`.
        folder: gets it.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    ended = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
    (path,) = folder.iterdir()
    return path


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, but for the list of their hashes."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_one_package_with_every_file_of_the_product(wheel: Path) -> None:
    files = contents(wheel)
    assert {name.split("/")[0] for name in files} == {"fbs_worker", "fbs_worker-0.1.0.dist-info"}
    product = {
        path.relative_to(ROOT / "fbs_worker" if folder == "fbs_worker" else ROOT).as_posix()
        for folder in ("fbs_worker", "connectors", "tasks")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    inner = {name.removeprefix("fbs_worker/") for name in files if name.startswith("fbs_worker/")}
    assert inner == product
    assert inner > {
        "py.typed",
        "connectors/odoo.py",
        "connectors/recordings/odoo19.json.xz",
        "tasks/discover.py",
        "ops/dashboard/templates/tasks.html",
        "web/pages/templates/base.html",
        "contrib/django/management/commands/test_discovery.py",
    }
    assert any(name.startswith("web/pages/static/") for name in inner)


def test_the_wheel_of_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("fbs_worker-*")
    second = build(source, "wheel", tmp_path / "second")
    assert second.name == wheel.name
    assert contents(second) == contents(wheel)


# --------------------------------------------------------------------------------- beside modules of common names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that has the wheel."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def write(path: Path, text: str = "") -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def distribution(folder: Path, name: str, module: str, text: str) -> None:
    """Install a distribution with one top-level module."""
    write(folder / module, text)
    write(folder / f"{name}-1.0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    write(folder / f"{name}-1.0.dist-info" / "RECORD", f"{module},,\n{name}-1.0.dist-info/METADATA,,\n")


def tasks_file(folder: Path, _site: Path) -> None:
    """A file tasks.py in the working directory."""
    write(folder / "tasks.py", TASKS)


def packages(folder: Path, _site: Path) -> None:
    """Packages tasks and connectors in the working directory."""
    write(folder / "tasks" / "__init__.py", TASKS)
    write(folder / "connectors" / "__init__.py")


def distributions(_folder: Path, site: Path) -> None:
    """Installed distributions: one with a module tasks, and the one that is called connectors."""
    distribution(site, "celery-tasks", "tasks.py", TASKS)
    distribution(site, "connectors", "connectors/__init__.py", "")


CLASHES: Final = (tasks_file, packages, distributions)

Clash = Callable[[Path, Path], None]
"""Puts modules of common names into the working directory, or into a folder of installed packages."""


@contextmanager
def beside(*clashes: Clash, installed: Path, run_folder: Path, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line of the installed wheel, with other modules around; its home is the working directory."""
    with command_line(run_folder) as command:
        site = tmp_path / "others"
        site.mkdir()
        for clash in clashes:
            clash(command.home, site)
        command.variables["PYTHONPATH"] = f"{site}{os.pathsep}{installed}"
        yield command


def origin(command: CommandLine, module: str) -> str:
    """Where a process of this command line finds a module."""
    code = f"from importlib.util import find_spec; print(find_spec('{module}').origin)"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=command.environment,
        cwd=command.home,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@contextmanager
def worker(command: CommandLine) -> Iterator[None]:
    """A worker of the console script, in the working directory; it ends on SIGTERM, without an error."""
    log = command.home / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(SCRIPT), "worker", "--name", "one", "--concurrency", "1"],
            env=command.environment,
            cwd=command.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def variables(settings: Settings, recording: str) -> dict[str, str]:
    """The settings of a test's own servers and of the recorded Odoo, as an environment."""
    return {**settings_environment(settings), "ODOO_URL": recording}


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: clash.__name__)
def test_a_worker_and_an_inline_discovery_run(
    clash: Clash, installed: Path, run_folder: Path, tmp_path: Path, settings: MakeSettings, recording: str
) -> None:
    made = settings()
    database = DatabaseConfig.from_url(made.fbs_database_url)
    to = [
        "--domain",
        "hr",
        "--output-format",
        "json",
        "--database-name",
        database.name,
        "--database-user",
        database.user,
    ]
    to += ["--database-host", database.host, "--database-port", str(database.port)]
    with beside(clash, installed=installed, run_folder=run_folder, tmp_path=tmp_path) as command:
        assert origin(command, "fbs_worker").startswith(str(installed))
        command.variables.update({k: v for k, v in variables(made, recording).items() if k != "FBS_HOME"})
        with worker(command):
            result = json.loads(command("discover", *to).stdout)
        assert result["report"]["added"]
        again = json.loads(command("discover", "--inline", *to).stdout)
        assert again["report"]["added"] == []


def test_the_others_keep_their_modules(installed: Path, run_folder: Path, tmp_path: Path) -> None:
    with beside(distributions, installed=installed, run_folder=run_folder, tmp_path=tmp_path) as command:
        assert origin(command, "tasks") == str(tmp_path / "others" / "tasks.py")
        assert origin(command, "fbs_worker.tasks").startswith(str(installed))


def test_up_and_down_beside_all_of_them(installed: Path, run_folder: Path, tmp_path: Path, recording: str) -> None:
    with beside(*CLASHES, installed=installed, run_folder=run_folder, tmp_path=tmp_path) as command:
        command("up", "--no-beat", "--no-flower", "--no-api", ODOO_URL=recording)
        to = ("--domain", "hr", "--database-name", "fbs", "--output-format", "json")
        assert json.loads(command("discover", *to).stdout)["report"]["added"]
        command("down")
        assert command.left_running() == ""


def test_a_django_project_with_an_app_called_tasks(
    installed: Path, run_folder: Path, settings: MakeSettings, recording: str
) -> None:
    made = settings()
    database = DatabaseConfig.from_url(made.fbs_database_url)
    with command_line(run_folder) as command:
        for name, text in {
            "manage.py": MANAGE,
            "shop/__init__.py": "",
            "shop/settings.py": DJANGO_SETTINGS,
            "tasks/__init__.py": "",
            "tasks/models.py": "",
        }.items():
            write(command.home / name, text)
        place = {"DB_HOST": database.host, "DB_PORT": str(database.port), "DB_USER": database.user}
        command.variables.update({k: v for k, v in variables(made, recording).items() if k != "FBS_HOME"})
        command.variables.update({"PYTHONPATH": str(installed), **place})

        def manage(*arguments: str) -> str:
            ended = subprocess.run(
                [sys.executable, "manage.py", *arguments],
                env=command.environment,
                cwd=command.home,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        assert "no issues" in manage("check")
        action = ("test_discovery", "--action", "discover", "--domain", "hr", "--output-format", "json")
        with worker(command):  # its working directory has the app
            assert json.loads(manage(*action, "--database-name", database.name))["report"]["added"]
