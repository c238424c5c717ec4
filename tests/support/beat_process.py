"""Beat processes with short intervals: `python -m tests.support.beat_process '{"lock": 1}'` with the settings in the environment."""

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
from fbs_worker.scheduling.beat import BeatIntervals, run_beat
from tests.support.job_worker import ROOT

QUICK: Final = BeatIntervals(lock=0.9, poll=0.1, registry=0.3, manifests=0.6, claim=0.9)


@contextmanager
def beat_process(settings: Settings, *, log: Path, times: BeatIntervals = QUICK) -> Iterator[subprocess.Popen[bytes]]:
    """Run a beat; stop it at the end."""
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
    """Run beat; print an error in one line."""
    try:
        return run_beat(load_settings(), times=BeatIntervals(**json.loads(times)))
    except FBSError as exc:
        sys.stderr.write(f"{exc.message}\n{exc.hint}\n")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
