"""The garbage collector of a program: rarely while it starts, as usual once it is ready.

Imports make objects that stay. To search them for garbage, again and again as their number grows and once more at the
end, takes a fifth of the time of a short command.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

_USUALLY: Final = gc.get_threshold()
_RARELY: Final = 100_000

_found: Final[list[tuple[int, int, int]]] = []
"""The thresholds that the blocks under way have found; whichever of them ends last gives back what the first found."""

_changing: Final = RLock()  # an abandoned block ends within a collection, in any thread


def collect_rarely() -> None:
    """Collect garbage rarely from now on: the program starts."""
    gc.set_threshold(_RARELY, *_USUALLY[1:])


def collect_as_usual() -> None:
    """Collect garbage as usual from now on, among new objects only: the program is ready, or is about to fork.

    Child processes share the memory of the objects that no collection touches.
    """
    gc.freeze()
    gc.set_threshold(*_USUALLY)


@contextmanager
def many_objects() -> Iterator[None]:
    """Collect garbage rarely while a block makes many objects that all stay for a while, none of them in a circle.

    Afterwards it is collected as before. Blocks may be nested, and run in several threads.
    """
    with _changing:
        _found.append(gc.get_threshold())
        collect_rarely()
    try:
        yield
    finally:
        with _changing:
            gc.set_threshold(*_found.pop())


def collect_no_more() -> None:
    """Leave the objects to the end of the process, which does not search them any more."""
    gc.freeze()
