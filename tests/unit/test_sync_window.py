"""When schedules may copy records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.core.errors import UsageError
from fbs_worker.scheduling.window import Window

BERLIN = "22:00-06:00 Europe/Berlin"


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("text", "instant", "opens"),
    [
        ("", "2026-07-01T12:00", "2026-07-01T12:00"),
        ("00:00-24:00", "2026-07-01T12:00", "2026-07-01T12:00"),
        ("22:00-06:00", "2026-07-01T12:00", "2026-07-01T22:00"),
        ("22:00-06:00", "2026-07-01T22:00", "2026-07-01T22:00"),
        ("22:00-06:00", "2026-07-02T05:59", "2026-07-02T05:59"),
        ("22:00-06:00", "2026-07-02T06:00", "2026-07-02T22:00"),
        ("22:00-24:00", "2026-07-02T00:00", "2026-07-02T22:00"),
        ("8:00 - 18:00", "2026-07-02T18:00", "2026-07-03T08:00"),
        (BERLIN, "2026-07-01T19:59", "2026-07-01T20:00"),
        (BERLIN, "2026-01-01T19:59", "2026-01-01T21:00"),
        (BERLIN, "2026-01-01T05:00", "2026-01-01T21:00"),
        ("02:30-05:00 Europe/Berlin", "2026-03-29T00:30", "2026-03-29T01:30"),  # the clock goes from 2:00 to 3:00
        ("02:30-02:45 Europe/Berlin", "2026-03-29T00:30", "2026-03-30T00:30"),  # this day has no such time
        ("02:30-02:45 Europe/Berlin", "2026-10-25T00:46", "2026-10-25T01:30"),  # this day has it twice
    ],
)
def test_a_window_opens(text: str, instant: str, opens: str) -> None:
    window = Window.parse(text)
    assert window.opens_after(at(instant)) == at(opens)
    assert window.is_open(at(instant)) is (instant == opens)


@pytest.mark.parametrize(
    "text", ["at night", "22-6", "25:00-06:00", "22:60-06:00", "10:00-10:00", "24:00-06:00", "22:00-06:00 Nowhere/City"]
)
def test_other_texts_are_rejected(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Window.parse(text)
    assert caught.value.hint


@given(
    st.times(),
    st.times(),
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1)),  # noqa: DTZ001
)
def test_it_is_open_when_it_opens_and_not_before(start: object, end: object, moment: datetime) -> None:
    window = Window(start=start, end=end)  # type: ignore[arg-type]
    now = moment.replace(tzinfo=UTC)
    opens = window.opens_after(now)
    assert window.is_open(opens)
    assert now <= opens < now + timedelta(days=1)
    assert opens == now or not window.is_open(opens - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("text", "instant", "closes"),
    [
        ("22:00-06:00", "2026-03-10T23:00+00:00", "2026-03-11T06:00+00:00"),
        ("22:00-06:00", "2026-03-10T05:59+00:00", "2026-03-10T06:00+00:00"),
        ("09:00-17:00 Europe/Berlin", "2026-03-10T09:00+00:00", "2026-03-10T16:00+00:00"),
        ("22:00-06:00 Europe/Berlin", "2026-03-28T23:00+00:00", "2026-03-29T04:00+00:00"),
    ],
)
def test_it_closes(text: str, instant: str, closes: str) -> None:
    assert Window.parse(text).closes_after(datetime.fromisoformat(instant)) == datetime.fromisoformat(closes)


def test_one_that_is_always_open_does_not_close() -> None:
    assert Window.parse("").closes_after(datetime(2026, 3, 10, tzinfo=UTC)) is None
