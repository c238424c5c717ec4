"""Reading ahead: the next answer of Odoo is waited for while the last one is being worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_LOOK_UP_EVERY: Final = 0.25
"""Seconds between two looks at whether the job was cancelled, while Odoo has not answered yet."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


class _End:
    pass


class Ahead(Generic[Item]):
    """Runs an iterator in a thread of its own, a bounded number of items ahead of whoever takes them.

    Errors come out where the item would have. Closing stops the thread after the item that it is working on; it does
    not wait for an Odoo that does not answer.

    Args:
        source: the iterator; only the thread touches it.
        depth: how many items may wait; this bounds memory.
        waiting: called now and then while there is nothing to take; what it raises is raised to the taker.
    """

    def __init__(self, source: Iterator[Item], *, depth: int, waiting: Callable[[], None]) -> None:
        self._source = source
        self._waiting = waiting
        self._items: queue.Queue[Item | _Failure | _End] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fbs-odoo-reader", daemon=True)

    def __iter__(self) -> Iterator[Item]:
        self._thread.start()
        try:
            while True:
                item = self._take()
                if isinstance(item, _End):
                    return
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            self._stopped.set()

    def _take(self) -> Item | _Failure | _End:
        while True:
            try:
                return self._items.get(timeout=_LOOK_UP_EVERY)
            except queue.Empty:
                self._waiting()

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_End())
        except BaseException as exc:  # noqa: BLE001  it is raised again where the items are taken
            self._put(_Failure(exc))

    def _put(self, item: Item | _Failure | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_LOOK_UP_EVERY)
            except queue.Full:
                continue
            return True
        return False
