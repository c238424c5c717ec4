"""Runs the real console script as a person would: in a process of its own, with a home of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.servers import describe, processes_about

SCRIPT = Path(sys.executable).with_name("fbs")
PATIENCE = 90.0


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """The console script with an environment of its own."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """As little as `env -i` leaves, and what the test wants."""
        return {"PATH": os.defpath, "HOME": str(self.home), "FBS_HOME": str(self.home), **self.variables}

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and see that it ends with this exit code."""
        told = subprocess.run(
            [str(SCRIPT), *arguments],
            env=self.environment | variables,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert told.returncode == code, f"exit code {told.returncode}\n{told.stdout}\n{told.stderr}"
        return told

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command, to be interrupted."""
        return subprocess.Popen(
            [str(SCRIPT), *arguments],
            env=self.environment | variables,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )

    def interrupt(self, running: subprocess.Popen[str], *, after: str, with_signal: signal.Signals) -> str:
        """Send a signal once the output has a line that begins so; what was printed in all comes back."""
        assert running.stdout is not None
        told = ""
        for line in running.stdout:
            told += line
            if line.startswith(after):
                running.send_signal(with_signal)
                break
        rest, _ = running.communicate(timeout=PATIENCE)
        return told + rest

    def left_running(self) -> str:
        """What runs that has to do with this home; empty when nothing does."""
        return describe(processes_about(self.home))


@pytest.fixture
def fbs(run_folder: Path) -> Iterator[CommandLine]:
    """The command line, with a home that is empty at first; whatever a test leaves running there ends with it."""
    home = run_folder / secrets.token_hex(4)
    home.mkdir()
    try:
        yield CommandLine(home=home)
    finally:
        left = processes_about(home)
        for process in left:
            process.kill()
        deadline = time.monotonic() + 10
        while processes_about(home) and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(home)


@pytest.fixture
def recording() -> str:
    """ODOO_URL of the recording that comes with the package."""
    from fbs_worker.cli.demo import packaged_recording

    return f"recording:{packaged_recording()}"
