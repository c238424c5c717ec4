"""Waiting for what comes to pass in another process or thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 90.0
"""Seconds until a test gives up on what should come; what comes ends the waiting at once."""


def until(
    condition: Callable[[], object], what: Callable[[], object] = lambda: "", *, seconds: float = PATIENCE
) -> None:
    """Wait until something is so.

    Args:
        condition: polled.
        what: shown in the failure, e.g. a log.
        seconds: give up after so many; fewer where a promise names a time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass in {seconds:.0f} s: {what()}"
        time.sleep(0.02)
