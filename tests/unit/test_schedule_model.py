"""When schedules are due: intervals, cron lines, clocks that are changed, many solutions spread."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.core.errors import UsageError
from fbs_worker.scheduling.model import CATCH_UP, ON_TIME, Schedule, due, offset, parse_interval

NOW = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
HUNDRED = [f"solution_{number}" for number in range(100)]


def times(schedule: Schedule, count: int, *, since: datetime = NOW, name: str = "shop") -> list[datetime]:
    found = []
    for _ in range(count):
        since = schedule.after(since, name=name)
        found.append(since)
    return found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1m", timedelta(minutes=1)),
        ("60s", timedelta(minutes=1)),
        ("6h", timedelta(hours=6)),
        (" 1 H 30m ", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(days=14)),
    ],
)
def test_an_interval(text: str, told: timedelta) -> None:
    assert parse_interval(text) == told
    assert Schedule.parse(every=text).every == text.replace(" ", "").lower()


@pytest.mark.parametrize("text", ["", "5 apples", "6", "h", "-6h", "6h!", "1.5h", "6 h ago", "٦h", "6h,5m"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(UsageError, match="not an interval") as caught:
        Schedule.parse(every=text)
    assert "6h" in caught.value.hint


@pytest.mark.parametrize("text", ["1s", "0s", "0h", "59s", "367d", "999999999w"])
def test_an_interval_has_bounds(text: str) -> None:
    with pytest.raises(UsageError, match=r"too (short|long)"):
        Schedule.parse(every=text)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": "6h", "cron": "0 3 * * *"},
        {"every": "6h", "timezone": "UTC"},
        {"cron": "0 3 * * *", "timezone": "Europe/Atlantis"},
        {"cron": "0 3 * * *", "timezone": "../../etc/passwd"},
        {"cron": "0 3 * * *", "timezone": "Europe"},
    ],
)
def test_what_does_not_go_together(options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule.parse(**options)
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "mon * * * *",
        "* * * mon *",
        "@daily",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
    ],
)
def test_what_is_no_cron_line(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule.parse(cron=line)
    assert caught.value.hint


@given(st.text(alphabet="0123456789*,-/ amonsutj", max_size=20))
def test_a_cron_line_is_understood_or_refused(line: str) -> None:
    try:
        schedule = Schedule.parse(cron=line)
    except UsageError:
        return
    assert all(first < second for first, second in pairwise([NOW, *times(schedule, 3)]))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 3 * * *", ["03-28 03:00", "03-29 03:00"]),
        ("*/20 * * * *", ["03-27 12:20", "03-27 12:40", "03-27 13:00"]),
        ("5,10-12 8 * * *", ["03-28 08:05", "03-28 08:10", "03-28 08:11", "03-28 08:12", "03-29 08:05"]),
        ("0 0 * * mon-fri", ["03-30 00:00", "03-31 00:00"]),
        ("0 0 * * 7", ["03-29 00:00", "04-05 00:00"]),
        ("0 0 * * 0", ["03-29 00:00", "04-05 00:00"]),
        ("0 0 31 * *", ["03-31 00:00", "05-31 00:00"]),
        ("0 0 1 APR *", ["04-01 00:00"]),
        ("0 0 1 * mon", ["03-30 00:00", "04-01 00:00", "04-06 00:00"]),
        ("0 0 */10 * mon", ["05-11 00:00", "06-01 00:00"]),  # a step of all is no choice of days: both must fit
        ("0 12 27 3 *", []),
    ],
)
def test_a_cron_line(line: str, told: list[str]) -> None:
    found = times(Schedule.parse(cron=line), len(told))
    assert [time.strftime("%m-%d %H:%M") for time in found] == told


def test_leap_days_and_a_tick_that_is_now() -> None:
    assert times(Schedule.parse(cron="0 0 29 2 *"), 2) == [datetime(year, 2, 29, tzinfo=UTC) for year in (2028, 2032)]
    assert times(Schedule.parse(cron="0 0 29 2 *"), 1, since=datetime(2097, 1, 1, tzinfo=UTC))[0].year == 2104
    assert times(Schedule.parse(cron="0 12 27 3 *"), 1)[0].year == 2027


def test_clocks_that_are_changed() -> None:
    """Berlin: on 29 March 2026 there is no 2:30, on 25 October there are two."""
    half_past_two = Schedule.parse(cron="30 2 * * *", timezone="Europe/Berlin")
    spring = times(half_past_two, 3, since=datetime(2026, 3, 28, 0, tzinfo=UTC))
    assert [time.isoformat() for time in spring] == [
        "2026-03-28T01:30:00+00:00",
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]
    autumn = times(half_past_two, 3, since=datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert [time.isoformat() for time in autumn] == [
        "2026-10-25T00:30:00+00:00",
        "2026-10-26T01:30:00+00:00",
        "2026-10-27T01:30:00+00:00",
    ]
    often = Schedule.parse(cron="*/15 * * * *", timezone="Europe/Berlin")
    for since in (datetime(2026, 3, 29, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, tzinfo=UTC)):
        found = times(often, 12, since=since)
        assert {second - first for first, second in pairwise([since, *found])} == {timedelta(minutes=15)}


def test_a_schedule_there_and_back() -> None:
    for told in ({"every": "6h"}, {"cron": "0 3 * * *"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}):
        assert Schedule.from_dict(told).to_dict() == told
    assert Schedule.parse(cron=" 0  3 * * * ", timezone="UTC").to_dict() == {"cron": "0 3 * * *"}
    assert [str(Schedule.from_dict(told)) for told in ({"every": "6h"}, {"cron": "0 3 * * *"})] == [
        "every 6h",
        "0 3 * * * (UTC)",
    ]
    broken_ones: list[object] = [None, [], {}, {"every": 6}, {"cron": None}, {"every": "6h", "cron": "0 3 * * *"}]
    for broken in broken_ones:
        with pytest.raises(UsageError):
            Schedule.from_dict(broken)


def test_an_interval_has_slots_that_do_not_move() -> None:
    schedule = Schedule.parse(every="6h")
    first, second, third = times(schedule, 3)
    assert (second - first, third - second) == (timedelta(hours=6), timedelta(hours=6))
    assert schedule.after(first - timedelta(microseconds=1), name="shop") == first
    assert NOW < first <= NOW + timedelta(hours=6)
    assert first - datetime(1970, 1, 1, tzinfo=UTC) >= offset("shop", timedelta(hours=6))


@pytest.mark.parametrize("every", ["1m", "10m", "6h", "7d"])
def test_a_hundred_solutions_are_spread_over_the_interval(every: str) -> None:
    schedule = Schedule.parse(every=every)
    interval = parse_interval(every)
    tenths = Counter(10 * (schedule.after(NOW, name=name) - NOW - timedelta(seconds=1)) // interval for name in HUNDRED)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) <= 20


@pytest.mark.parametrize("every", ["1m", "1h", "1d"])
def test_each_slot_is_run_once(every: str) -> None:
    """Looked at every minute for two intervals, each solution is due twice, and never many at once."""
    schedule, interval = Schedule.parse(every=every), parse_interval(every)
    since = dict.fromkeys(HUNDRED[:20], NOW)
    counts: Counter[str] = Counter()
    now, most = NOW, 0
    while now < NOW + 2 * interval:
        now += timedelta(minutes=1)
        slots = {name: schedule.after(at, name=name) for name, at in since.items()}
        found = due(slots, now=now, look=timedelta(minutes=1))
        most = max(most, len(found))
        counts.update(found)
        since |= dict.fromkeys(found, now)
    assert set(counts.values()) == {2}
    assert most <= (20 if every == "1m" else 4)


def test_what_was_missed_is_made_up_for_once_and_spread_while_other_slots_stay_on_time() -> None:
    slots = {name: NOW - timedelta(days=1, minutes=number) for number, name in enumerate(HUNDRED)}
    slots["on_time"], slots["later"] = NOW - ON_TIME, NOW + timedelta(seconds=1)
    rounds = []
    for _ in range(10):
        found = due(slots, now=NOW, look=CATCH_UP / 10)
        rounds.append(found)
        slots |= dict.fromkeys(found, NOW + timedelta(days=1))
    assert rounds[0][-1] == "on_time"
    assert rounds[0][0] == HUNDRED[-1]  # which has waited longest
    assert sorted(name for found in rounds for name in found if name != "on_time") == sorted(HUNDRED)
    assert max(len(found) for found in rounds) <= 12
    assert due(slots, now=NOW, look=CATCH_UP) == []
    assert due({}, now=NOW, look=CATCH_UP) == []


def test_no_time_is_given_twice() -> None:
    line = Schedule.parse(cron="* * * * *")
    assert line.after(NOW, name="") == NOW + timedelta(minutes=1)
    assert line.after(NOW + timedelta(seconds=30), name="") == NOW + timedelta(minutes=1)
