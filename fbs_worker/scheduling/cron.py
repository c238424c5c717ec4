"""Cron expressions of five fields, as in crontab(5). Pure.

    minute 0-59   hour 0-23   day of month 1-31   month 1-12 or jan-dec   day of week 0-7 or sun-sat, 0 and 7 are Sunday

A field is `*`, a number, a range (`1-5`), `*` or a range with a step (`*/15`), or a comma-separated list of these. If
both day fields are restricted, either may match, as in crontab(5): `0 3 1 * mon` means the first and every Monday.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Self

from fbs_worker.core.errors import UsageError

_HINT: Final = 'Give minute, hour, day of month, month and day of week, e.g. "0 3 * * *" for every day at 3:00.'
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_GAP: Final = timedelta(days=8 * 366)
"""29 February may be eight years away: 2096 is the last leap year before 2104."""

_ITEM: Final = re.compile(
    r"(?:(?P<all>\*)|(?P<first>[0-9]{1,2}|[a-z]{3})(?:-(?P<last>[0-9]{1,2}|[a-z]{3}))?)(?:/(?P<step>[0-9]{1,2}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A parsed cron expression.

    Attributes:
        minutes: 0 to 59.
        hours: 0 to 23.
        days: of the month, 1 to 31.
        months: 1 to 12.
        weekdays: 0, Sunday, to 6.
        either_day: both day fields are restricted, so that a match of either is enough.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse a cron expression.

        Raises:
            UsageError: the expression is not valid, or no date ever matches it.
        """
        fields = line.lower().split()
        if len(fields) != 5:
            raise UsageError(f"A cron expression has five fields, {line!r} has {len(fields)}.", hint=_HINT)
        minute, hour, day, month, weekday = fields
        cron = cls(
            minutes=tuple(sorted(_numbers("minute", minute, 0, 59))),
            hours=tuple(sorted(_numbers("hour", hour, 0, 23))),
            days=frozenset(_numbers("day of month", day, 1, 31)),
            months=frozenset(_numbers("month", month, 1, 12, _MONTHS)),
            weekdays=frozenset(number % 7 for number in _numbers("day of week", weekday, 0, 7, _WEEKDAYS)),
            either_day=not (day.startswith("*") or weekday.startswith("*")),
        )
        if next(cron._times(datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 -- local time
            raise UsageError(f"No date ever matches {line!r}.", hint="Check day of month and month.")
        return cron

    def after(self, timestamp: datetime, zone: tzinfo) -> datetime:
        """Return the first matching time after a timestamp, in UTC.

        A local time that occurs twice at the end of daylight saving time matches once; one that is skipped at its start
        matches an hour later.

        Args:
            timestamp: with a time zone.
            zone: the time zone in which the expression is evaluated.
        """
        for local in self._times(timestamp.astimezone(zone).replace(tzinfo=None)):
            match = local.replace(tzinfo=zone).astimezone(UTC)
            if match > timestamp:
                return match
        raise AssertionError("parse rejects an expression that never matches")

    def _times(self, local: datetime) -> Iterator[datetime]:
        """Yield the matching local times after the given one."""
        day = local.replace(hour=0, minute=0, second=0, microsecond=0)
        end = day + _LONGEST_GAP
        while day <= end:
            if self._matches(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        match = day.replace(hour=hour, minute=minute)
                        if match > local:
                            yield match
            day += timedelta(days=1)

    def _matches(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


def _numbers(name: str, field: str, lowest: int, highest: int, names: tuple[str, ...] = ()) -> Iterator[int]:
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise UsageError(f"The field {name} of a cron expression cannot be {field!r}.", hint=_HINT)
        if match["all"]:
            first, last = lowest, highest
        else:
            first = _number(name, match["first"], lowest, highest, names)
            last = _number(name, match["last"], lowest, highest, names) if match["last"] else first
        step = int(match["step"] or 1)
        if last < first or step < 1 or (match["step"] and not (match["all"] or match["last"])):
            raise UsageError(f"The field {name} of a cron expression cannot be {field!r}.", hint=_HINT)
        yield from range(first, last + 1, step)


def _number(name: str, text: str, lowest: int, highest: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + lowest
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        raise UsageError(
            f"The field {name} of a cron expression must be between {lowest} and {highest}, not {text!r}.", hint=_HINT
        )
    return int(text)
