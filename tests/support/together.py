"""Doing things at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fbs_worker.core.errors import FBSError
from tests.support.waiting import PATIENCE

Given = TypeVar("Given")
Result = TypeVar("Result")

Meet = Callable[[], object]
"""Waits until all threads have come so far."""


def together(work: Callable[[Given, Meet], Result], given: Iterable[Given]) -> list[Result | FBSError]:
    """Work on each in a thread of its own.

    Args:
        work: gets one of the given, and how to meet the others.
        given: one per thread.

    Returns:
        What it returns, or the FBSError that it raises, for each in order.
    """
    each = list(given)
    gate = threading.Barrier(len(each))

    def do(one: Given) -> Result | FBSError:
        try:
            return work(one, lambda: gate.wait(PATIENCE))
        except FBSError as exc:
            return exc

    with ThreadPoolExecutor(len(each)) as pool:
        return list(pool.map(do, each))
