"""Refresh schedules: an interval or a cron expression. Pure.

An interval such as `6h` gives fixed ticks, six hours apart. The offset of the ticks within the interval is a hash of
the solution's name, so that many solutions are spread evenly and every process computes the same ticks.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fbs_worker.core.errors import UsageError
from fbs_worker.scheduling.cron import Cron

SHORTEST_INTERVAL: Final = timedelta(minutes=1)
LONGEST_INTERVAL: Final = timedelta(days=366)

CATCH_UP: Final = timedelta(minutes=10)
"""Solutions whose ticks were missed are spread over this time."""

DUE_EVERY: Final = timedelta(minutes=1)
"""Interval of `fbs.refresh_due`, which refreshes solutions without a schedule of their own."""

_UTC: Final = "UTC"
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_LENGTH: Final = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")
_LENGTH_HINT: Final = "Give e.g. 30m, 6h, 1d or 1h30m; the units are s, m, h, d and w."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Schedule of a solution's refreshes. Build it with `parse`, which validates.

    Attributes:
        every: an interval such as `6h`; empty with a cron expression.
        cron: a cron expression; empty with an interval.
        timezone: the time zone of the cron expression, e.g. `Europe/Berlin`.
    """

    every: str = ""
    cron: str = ""
    timezone: str = _UTC

    def __str__(self) -> str:
        return f"every {self.every}" if self.every else f"{self.cron} ({self.timezone})"

    @classmethod
    def parse(cls, *, every: str | None = None, cron: str | None = None, timezone: str | None = None) -> Self:
        """Validate the input; the arguments are the attributes.

        Raises:
            UsageError: a value is not valid, or not exactly one of interval and cron expression is given.
        """
        if (every is None) == (cron is None):
            raise UsageError(
                "A schedule is either an interval or a cron expression.", hint='Give --every 6h or --cron "0 3 * * *".'
            )
        if every is not None:
            if timezone is not None:
                raise UsageError(
                    "A time zone is possible only with a cron expression.", hint="Leave --timezone out, or give --cron."
                )
            parse_interval(every)
            return cls(every="".join(every.lower().split()))
        assert cron is not None  # noqa: S101 -- exactly one of the two is set
        line = " ".join(cron.split())
        Cron.parse(line)
        zone = timezone or _UTC
        _zone(zone)
        return cls(cron=line, timezone=zone)

    @classmethod
    def from_dict(cls, stored: object) -> Self:
        """Parse the result of `to_dict`.

        Raises:
            UsageError: the stored value is not valid, e.g. after a manual edit.
        """
        values = stored if isinstance(stored, Mapping) else {}
        known = {name: values.get(name) for name in ("every", "cron", "timezone")}
        if any(value is not None and not isinstance(value, str) for value in known.values()):
            known = {}
        return cls.parse(**known)

    def to_dict(self) -> dict[str, str]:
        """Return the form stored in manifest and registry."""
        if self.every:
            return {"every": self.every}
        return {"cron": self.cron, **({"timezone": self.timezone} if self.timezone != _UTC else {})}

    def after(self, timestamp: datetime, *, name: str) -> datetime:
        """Return the first tick after a timestamp, in UTC.

        Args:
            timestamp: with a time zone.
            name: the solution's name.
        """
        if self.cron:
            return Cron.parse(self.cron).after(timestamp, _zone(self.timezone))
        interval = parse_interval(self.every)
        first = _EPOCH + offset(name, interval)
        return first + ((timestamp - first) // interval + 1) * interval

    def due_at(self, since: datetime, *, name: str, now: datetime) -> datetime:
        """Return when a solution is due next.

        A missed tick is caught up within `CATCH_UP`, spread over solutions.

        Args:
            since: time of the last refresh or set-up; earlier ticks are not caught up.
            name: the solution's name.
            now: the current time.
        """
        tick = self.after(since, name=name)
        return tick if tick > now else now + offset(name, CATCH_UP)


def parse_interval(text: str) -> timedelta:
    """Parse an interval.

    Args:
        text: e.g. `6h` or `1h30m`.

    Raises:
        UsageError: the text is not an interval, or it is shorter than 1 minute or longer than 366 days.
    """
    if not _LENGTH.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is not an interval.", hint=_LENGTH_HINT)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text.lower()))
    if seconds < SHORTEST_INTERVAL.total_seconds():
        raise UsageError(f"{text!r} is too short: the shortest interval is 1 minute.", hint=_LENGTH_HINT)
    if seconds > LONGEST_INTERVAL.total_seconds():
        raise UsageError(
            f"{text!r} is too long: the longest interval is {LONGEST_INTERVAL.days} days.", hint=_LENGTH_HINT
        )
    return timedelta(seconds=seconds)


def offset(name: str, interval: timedelta) -> timedelta:
    """Return a solution's offset within an interval: the same on every machine, evenly spread over names.

    Args:
        name: the solution's name.
        interval: the upper bound, exclusive.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(seconds=number % int(interval.total_seconds()))


def due(schedule: Schedule, since: Mapping[str, datetime], *, now: datetime) -> list[str]:
    """Return the solutions that are due, those that have waited longest first.

    After an outage, when all of them are due, each call returns a share of them, so that they are spread over
    `CATCH_UP`.

    Args:
        schedule: an interval.
        since: each solution with the time of its last refresh.
        now: the current time.
    """
    ticks = sorted((schedule.after(last, name=name), name) for name, last in since.items())
    waiting = [name for tick, name in ticks if tick <= now]
    usual = DUE_EVERY / parse_interval(schedule.every)
    share = max(usual, DUE_EVERY / CATCH_UP)
    return waiting[: math.ceil(len(since) * share)]


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r}.", hint="Give one such as Europe/Berlin, or UTC.") from None
