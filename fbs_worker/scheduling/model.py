"""When a solution is to be refreshed: every so often, or by a cron line. Pure.

What comes "every 6h" comes at fixed slots, six hours apart; where in the six hours follows from the solution's name, so
that many solutions are spread over the interval, whoever asks and whenever.
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

SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=366)

CATCH_UP: Final = timedelta(minutes=10)
"""Over how long solutions are spread that have all missed their slots."""

DUE_EVERY: Final = timedelta(minutes=1)
"""How often it is looked which solutions without a schedule of their own are due."""

_UTC: Final = "UTC"
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_LENGTH: Final = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")
_LENGTH_HINT: Final = "Write it as 30m, 6h, 1d or 1h30m: s, m, h, d and w are seconds to weeks."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often a solution is refreshed. Made by `parse`, so that what there is is valid.

    Attributes:
        every: an interval such as `6h`; empty with a cron line.
        cron: a cron line; empty with an interval.
        timezone: whose clock the cron line speaks of, e.g. `Europe/Berlin`.
    """

    every: str = ""
    cron: str = ""
    timezone: str = _UTC

    def __str__(self) -> str:
        return f"every {self.every}" if self.every else f"{self.cron} ({self.timezone})"

    @classmethod
    def parse(cls, *, every: str | None = None, cron: str | None = None, timezone: str | None = None) -> Self:
        """Check what was given; the arguments are the attributes.

        Raises:
            UsageError: it is not valid, or not exactly one of interval and cron line.
        """
        if (every is None) == (cron is None):
            raise UsageError(
                "A schedule is either an interval or a cron line.", hint='Give --every 6h or --cron "0 3 * * *".'
            )
        if every is not None:
            if timezone is not None:
                raise UsageError(
                    "A time zone goes with a cron line alone.", hint="Leave --timezone out, or give --cron."
                )
            length(every)
            return cls(every="".join(every.lower().split()))
        assert cron is not None  # noqa: S101 -- one of the two is given
        line = " ".join(cron.split())
        Cron.parse(line)
        zone = timezone or _UTC
        _zone(zone)
        return cls(cron=line, timezone=zone)

    @classmethod
    def from_dict(cls, told: object) -> Self:
        """Back from `to_dict`.

        Raises:
            UsageError: somebody has changed it into something that is not valid.
        """
        given = told if isinstance(told, Mapping) else {}
        known = {name: given.get(name) for name in ("every", "cron", "timezone")}
        if any(value is not None and not isinstance(value, str) for value in known.values()):
            known = {}
        return cls.parse(**known)

    def to_dict(self) -> dict[str, str]:
        """As a solution's row keeps it."""
        if self.every:
            return {"every": self.every}
        return {"cron": self.cron, **({"timezone": self.timezone} if self.timezone != _UTC else {})}

    def after(self, moment: datetime, *, name: str) -> datetime:
        """The first time that lies later than a moment, in UTC.

        Args:
            moment: with a time zone.
            name: the solution's.
        """
        if self.cron:
            return Cron.parse(self.cron).after(moment, _zone(self.timezone))
        interval = length(self.every)
        first = _EPOCH + place(name, interval)
        return first + ((moment - first) // interval + 1) * interval

    def due_at(self, since: datetime, *, name: str, now: datetime) -> datetime:
        """When it is due for the first time, as far as is known.

        Args:
            since: when the solution was last written to; nothing is due for what lay before.
            name: the solution's.
            now: what was missed is made up for soon, not at once, and spread.
        """
        slot = self.after(since, name=name)
        return slot if slot > now else now + place(name, CATCH_UP)


def length(text: str) -> timedelta:
    """An interval as people write it.

    Args:
        text: e.g. `6h` or `1h30m`.

    Raises:
        UsageError: it is not one, or too short or too long.
    """
    if not _LENGTH.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is not a length of time.", hint=_LENGTH_HINT)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text.lower()))
    if seconds < SHORTEST.total_seconds():
        raise UsageError(f"{text!r} is too short: a refresh every minute is the most.", hint=_LENGTH_HINT)
    if seconds > LONGEST.total_seconds():
        raise UsageError(f"{text!r} is too long: a refresh every {LONGEST.days} days is the least.", hint=_LENGTH_HINT)
    return timedelta(seconds=seconds)


def place(name: str, interval: timedelta) -> timedelta:
    """A solution's place in an interval: the same on every machine, evenly spread over names.

    Args:
        name: the solution's.
        interval: what to divide.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(seconds=number % int(interval.total_seconds()))


def due(schedule: Schedule, since: Mapping[str, datetime], *, now: datetime) -> list[str]:
    """The solutions whose slot has come, those that have waited longest first.

    When all of them have missed theirs (nothing ran for a while), they come in shares, over ten minutes.

    Args:
        schedule: every how long.
        since: each solution with the time of its last refresh.
        now: what has come until then.
    """
    came = sorted((schedule.after(last, name=name), name) for name, last in since.items())
    waiting = [name for slot, name in came if slot <= now]
    usual = DUE_EVERY / length(schedule.every)
    share = max(usual, DUE_EVERY / CATCH_UP)
    return waiting[: math.ceil(len(since) * share)]


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r}.", hint="Give one such as Europe/Berlin, or UTC.") from None
