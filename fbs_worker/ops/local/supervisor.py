"""Supervisor of the local stack: starts again what has ended.

In the background it is a process of its own (`fbs up --supervise`), in the foreground `fbs up` itself. A part that ends
soon after each start is started less and less often.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local import stack
from fbs_worker.ops.local.processes import file_lock
from fbs_worker.ops.local.state import read_stack

_ORDER: Final = ("postgres", "redis", *stack.PROGRAMS)
_POLL_SECONDS: Final = 0.5
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0

_STABLE_SECONDS: Final = 60.0
"""A part that ran for so long is started at once when it ends."""


def supervise(settings: Settings, *, concurrency: int, say: Callable[[str], None]) -> None:
    """Start again each part of the stack that ends, until `fbs down` removes the stack.

    Args:
        settings: those that the stack was started with.
        concurrency: how many jobs the worker runs at a time.
        say: called with one line for each part that ended, and for each start that failed.
    """
    home = settings.home()
    with file_lock(home / "stack.lock"):
        pass  # `stack.up`, which starts this process, has written the state
    pauses: dict[str, float] = {}
    due: dict[str, float] = {}
    started: dict[str, float] = {}
    parts: set[str] = set()
    while (info := read_stack(home)) is not None:
        now = time.monotonic()
        alive = {service.name for service in info.services if service.process and service.process.alive}
        parts |= {service.name for service in info.services if service.process}
        for name in sorted(parts - alive, key=_ORDER.index):
            if name not in due:
                if now - started.get(name, now) > _STABLE_SECONDS:
                    pauses.pop(name, None)
                pause = pauses[name] = min(2 * pauses.get(name, _FIRST_PAUSE_SECONDS / 2), _LONGEST_PAUSE_SECONDS)
                due[name] = now + pause
                say(f"{name} has ended and is started again in {pause:.0f} s; its log is in {home}.")
            if due[name] > now:
                continue
            del due[name]
            # with a server that has ended, all programs are started again: its address is another one
            programs = [name] if name in stack.PROGRAMS else [each for each in stack.PROGRAMS if each in parts]
            try:
                stack.up(settings, concurrency=concurrency, programs=programs)
            except FBSError as exc:
                say(f"{name} could not be started: {exc.message}")
            else:
                started[name] = time.monotonic()
                say(f"{name} is started again.")
            break  # what runs may have changed
        time.sleep(_POLL_SECONDS)
