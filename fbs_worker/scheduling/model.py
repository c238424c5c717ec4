"""When a solution is refreshed, or its records are copied: at an interval, or by a cron expression. Pure.

The slots of an interval are fixed. Their offset follows from the solution's name, so that many solutions are spread
over the interval, alike on every machine and at any time.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from fbs_worker.core.errors import UsageError

SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=366)

CATCH_UP: Final = timedelta(minutes=10)
"""Slots that were missed by many solutions are made up for over this time."""

ON_TIME: Final = timedelta(minutes=1)
"""A slot that is not older than this was not missed."""

_UTC: Final = "UTC"
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_INTERVAL: Final = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")
_INTERVAL_HINT: Final = "Write it as 30m, 6h, 1d or 1h30m: s, m, h, d and w are seconds to weeks."
_CRON_HINT: Final = 'Give minute, hour, day of month, month and day of week, e.g. "0 3 * * *" for every day at 3:00.'
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What a schedule runs: a refresh, or a sync of the records."""

    REFRESH = "refresh"
    SYNC = "sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often a solution is refreshed or synced. `parse` makes valid ones.

    Attributes:
        every: an interval such as `6h`; empty with a cron expression.
        cron: a cron expression of five fields, as crontab(5) has them; empty with an interval.
        timezone: of the cron expression's clock, e.g. `Europe/Berlin`.
        paused: it is kept, and does not run.
    """

    every: str = ""
    cron: str = ""
    timezone: str = _UTC
    paused: bool = False

    def __str__(self) -> str:
        text = f"every {self.every}" if self.every else f"{self.cron} ({self.timezone})"
        return f"{text}, paused" if self.paused else text

    @classmethod
    def parse(cls, *, every: str | None = None, cron: str | None = None, timezone: str | None = None) -> Self:
        """Check the input; the arguments are the attributes.

        Raises:
            UsageError: it is not valid, or not exactly one of interval and cron expression.
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
        assert cron is not None  # noqa: S101 -- one of the two is given
        line = " ".join(cron.split())
        zone = timezone or _UTC
        zone_of(zone)
        _check_cron(line)
        return cls(cron=line, timezone=zone)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of `to_dict`.

        Raises:
            UsageError: it is not valid.
        """
        given = values if isinstance(values, Mapping) else {}
        known = {name: given.get(name) for name in ("every", "cron", "timezone")}
        if any(value is not None and not isinstance(value, str) for value in known.values()):
            known = {}
        return replace(cls.parse(**known), paused=given.get("paused") is True)

    def to_dict(self) -> dict[str, Any]:
        """As a solution's row stores it."""
        paused = {"paused": True} if self.paused else {}
        if self.every:
            return {"every": self.every, **paused}
        return {"cron": self.cron, **({"timezone": self.timezone} if self.timezone != _UTC else {}), **paused}

    def after(self, instant: datetime, *, name: str) -> datetime:
        """The first slot later than an instant, in UTC.

        A cron expression follows Debian's cron when clocks change (CronSim): a fixed time that is skipped in spring
        comes right after the change, one that comes twice in autumn counts once, `*/15` goes on every 15 minutes.

        Args:
            instant: with a time zone.
            name: the solution's.
        """
        if self.cron:
            return next(CronSim(self.cron, instant.astimezone(zone_of(self.timezone)))).astimezone(UTC)
        interval = parse_interval(self.every)
        first = _EPOCH + offset(name, interval)
        return first + ((instant - first) // interval + 1) * interval


def schedules_of(
    *, every: str | None = None, cron: str | None = None, timezone: str | None = None, sync_every: str | None = None
) -> dict[Kind, Schedule]:
    """Check the schedules that are given, at least one.

    Args:
        every: the interval of refreshes.
        cron: or their cron expression.
        timezone: of the cron expression.
        sync_every: the interval of syncs.

    Raises:
        UsageError: one is not valid, or none is given.
    """
    refresh, sync = (every, cron, timezone), {}
    if sync_every is not None:
        sync = {Kind.SYNC: Schedule.parse(every=sync_every)}
    if sync and refresh == (None, None, None):
        return sync
    return {Kind.REFRESH: Schedule.parse(every=every, cron=cron, timezone=timezone), **sync}


def kinds_of(only: str | None) -> tuple[Kind, ...]:
    """The kinds of schedules: the one of that name, or all.

    Raises:
        UsageError: there is none of that name.
    """
    if only is None:
        return tuple(Kind)
    if only not in list(Kind):
        raise UsageError(f"There is no kind of schedule {only!r}.", hint=f"Use one of: {', '.join(Kind)}.")
    return (Kind(only),)


def parse_interval(text: str) -> timedelta:
    """Parse an interval.

    Args:
        text: e.g. `6h` or `1h30m`.

    Raises:
        UsageError: it is not one, or too short or too long.
    """
    if not _INTERVAL.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is not an interval.", hint=_INTERVAL_HINT)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text.lower()))
    if seconds < SHORTEST.total_seconds():
        raise UsageError(f"{text!r} is too short: the shortest interval is 1 minute.", hint=_INTERVAL_HINT)
    if seconds > LONGEST.total_seconds():
        raise UsageError(f"{text!r} is too long: the longest interval is {LONGEST.days} days.", hint=_INTERVAL_HINT)
    return timedelta(seconds=seconds)


def offset(name: str, interval: timedelta) -> timedelta:
    """A solution's offset in an interval: the same on every machine, evenly spread over names.

    Args:
        name: the solution's.
        interval: which is divided, in whole seconds.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return timedelta(seconds=number % int(interval.total_seconds()))


def due(slots: Mapping[str, datetime], *, now: datetime, look: timedelta) -> list[str]:
    """The solutions to refresh now, those that have waited longest first.

    All slots that are on time are due. Those that were missed (no beat ran for a while) come in shares, so that all of
    them are made up for within `CATCH_UP`.

    Args:
        slots: the next slot of each solution; a past one has not been run.
        now: the current time.
        look: how often this is asked.
    """
    waiting = sorted((slot, name) for name, slot in slots.items() if slot <= now)
    missed = [name for slot, name in waiting if now - slot > ON_TIME]
    share = math.ceil(len(slots) * min(1.0, look / CATCH_UP))
    return missed[:share] + [name for slot, name in waiting if now - slot <= ON_TIME]


def _check_cron(line: str) -> None:
    if len(line.split()) != 5:
        raise UsageError(f"A cron expression has five fields, {line!r} has {len(line.split())}.", hint=_CRON_HINT)
    try:
        next(CronSim(line, _EPOCH))
    except CronSimError as exc:
        raise UsageError(f"{line!r} is not a cron expression: {str(exc).lower()}.", hint=_CRON_HINT) from None
    except StopIteration:
        raise UsageError(f"No such day ever comes: {line!r}.", hint="Check day of month and month.") from None


def zone_of(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {name!r}.", hint="Give one such as Europe/Berlin, or UTC.") from None
