"""Prefetching: order, errors, cancelling and stopping."""

import threading
from collections.abc import Iterator

import pytest

from fbs_worker.connectors.prefetch import Prefetcher, in_flight
from fbs_worker.core.errors import JobCancelled, OdooUnreachable
from tests.unit.test_reader import Endless


def nothing() -> None:
    """No cancellation."""


def test_items_come_in_order() -> None:
    assert list(Prefetcher(iter(range(100)), depth=2, waiting=nothing)) == list(range(100))


def test_the_answers_of_processed_pages_are_no_longer_held() -> None:
    transport, before = Endless([], step=1), 7

    def pages() -> Iterator[int]:
        for size in (10, 20, 30, 40, 50):
            transport.held += size
            yield size

    transport.held = before
    held = [transport.held - before for _ in in_flight(transport, pages(), depth=2)]
    assert held == [10, 30, 60, 90, 120]


def test_an_error_comes_where_the_item_would_have() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OdooUnreachable("gone")

    consumer = iter(Prefetcher(source(), depth=2, waiting=nothing))
    assert next(consumer) == 1
    with pytest.raises(OdooUnreachable):
        next(consumer)


def test_no_more_than_depth_and_one_are_prefetched() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    consumer = iter(Prefetcher(source(), depth=2, waiting=nothing))
    next(consumer)
    # one taken, two waiting, one in the thread's hand
    assert len(made) <= 4
    assert list(consumer) == list(range(1, 10))


def test_a_consumer_who_stops_ends_the_thread() -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            ended.set()

    consumer = iter(Prefetcher(source(), depth=1, waiting=nothing))
    assert next(consumer) == 1
    consumer.close()  # type: ignore[attr-defined]
    assert ended.wait(timeout=10)


def test_a_job_that_is_cancelled_does_not_wait_for_odoo() -> None:
    release = threading.Event()

    def hanging() -> Iterator[int]:
        release.wait(timeout=30)
        yield 1

    def cancelled() -> None:
        raise JobCancelled("cancelled")

    with pytest.raises(JobCancelled):
        list(Prefetcher(hanging(), depth=1, waiting=cancelled))
    release.set()
