"""Prefetch: read the next pages of Odoo in a thread while the caller processes the current one."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from fbs_worker.connectors.base import Transport

Item = TypeVar("Item")

_POLL_SECONDS: Final = 0.25
"""How often a blocked side checks for cancellation."""


def in_flight(transport: Transport, pages: Iterator[Item], *, depth: int) -> Iterator[Item]:
    """Take off what a transport holds the answers of pages that are processed.

    Args:
        transport: makes the calls.
        pages: each made of the answers since the one before.
        depth: that of the prefetcher; with the page that is processed, so many and one are in memory.
    """
    sizes: deque[int] = deque(maxlen=depth + 1)
    before = transport.held
    for page in pages:
        sizes.append(transport.held - before - sum(sizes))
        transport.held = before + sum(sizes)
        yield page


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


class _End:
    pass


class Prefetcher(Generic[Item]):
    """Run an iterator in a thread, a bounded number of items ahead of the consumer.

    An exception of the iterator is raised in place of the item. Closing stops the thread after its current item,
    without waiting for a server that does not answer.

    Args:
        source: the iterator; used by the thread only.
        depth: maximum of buffered items; bounds memory.
        waiting: called several times a second while the buffer is empty; its exceptions reach the consumer.
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
                item = self._get()
                if isinstance(item, _End):
                    return
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            self._stopped.set()

    def _get(self) -> Item | _Failure | _End:
        while True:
            try:
                return self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._waiting()

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
            self._put(_End())
        except BaseException as exc:  # noqa: BLE001  raised again in the consumer's thread
            self._put(_Failure(exc))

    def _put(self, item: Item | _Failure | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
