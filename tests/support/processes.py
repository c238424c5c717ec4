"""Workers and beats of the tests' own as processes: `python -m tests.support.NAME`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.programs import settings_environment
from tests.support.preloaded import Forked, fork

ROOT: Final = Path(__file__).parents[2]


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
    return inherited | settings_environment(settings)


def start_module(name: str, *arguments: str, settings: Settings, log: Path) -> Forked:
    """Start a module of this package as a process group of its own; its output is added to the log."""
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        files = {0: nothing.fileno(), 1: output.fileno(), 2: output.fileno()}
        return fork(arguments, files, env=environment(settings), cwd=ROOT, module=f"tests.support.{name}")


def end(process: Forked | subprocess.Popen[Any], *, seconds: float = 10) -> None:
    """End such a process politely, or with its children at once if that takes long."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def exit_with(run: Callable[[], int]) -> None:
    """End this process with the exit code of a function; print an error in one line."""
    try:
        sys.exit(run())
    except FBSError as exc:
        sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
        sys.exit(exc.exit_code)


def shorten_times(lost_after: float) -> None:
    """Shorten `lost_after` of this process; all other intervals derive from it."""
    defaults = JobStore.__init__.__kwdefaults__
    assert defaults is not None
    defaults["lost_after"] = lost_after
