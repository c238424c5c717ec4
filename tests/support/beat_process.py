"""Beats with short times: `python -m tests.support.beat_process '{"lock": 1}'` with the settings around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.ops.local.programs import settings_environment
from fbs_worker.scheduling.beat import BeatTimes, run_beat
from tests.support.job_worker import ROOT

QUICK: Final = BeatTimes(look=0.1, alive=3.0)


@contextmanager
def beat_process(settings: Settings, *, log: Path, times: BeatTimes = QUICK) -> Iterator[subprocess.Popen[bytes]]:
    """A running beat; it is stopped at the end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ODOO_", "FBS_"))}
    with log.open("ab") as output:
        beat = subprocess.Popen(
            [sys.executable, "-m", "tests.support.beat_process", json.dumps(asdict(times))],
            cwd=ROOT,
            env=inherited | settings_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield beat
    finally:
        beat.terminate()
        try:
            beat.wait(10)
        except subprocess.TimeoutExpired:
            beat.kill()
            beat.wait()


def main(times: str) -> int:
    """Run beat; an error is told in one line."""
    try:
        return run_beat(load_settings(), times=BeatTimes(**json.loads(times)))
    except FBSError as exc:
        sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
