"""Beats with short times: `python -m tests.support.beat_process '{"lock": 1}'` with the settings around it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from fbs_worker.core.settings import Settings, load_settings
from fbs_worker.scheduling.beat import BeatTimes, run_beat
from tests.support.preloaded import Forked
from tests.support.processes import end, exit_with, start_module

QUICK: Final = BeatTimes(look=0.1, alive=3.0)


@contextmanager
def beat_process(settings: Settings, *, log: Path, times: BeatTimes = QUICK) -> Iterator[Forked]:
    """A running beat; it is stopped at the end."""
    beat = start_module("beat_process", json.dumps(asdict(times)), settings=settings, log=log)
    try:
        yield beat
    finally:
        end(beat)


if __name__ == "__main__":
    exit_with(lambda: run_beat(load_settings(), times=BeatTimes(**json.loads(sys.argv[1]))))
