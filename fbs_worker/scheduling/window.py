"""The time of day in which schedules may copy records (FBS_SYNC_WINDOW). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final, Self

from fbs_worker.core.errors import UsageError
from fbs_worker.scheduling.model import zone_of

_WINDOW: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})(?:\s+(\S+))?")
_HINT: Final = "Write it as 22:00-06:00, or with a time zone as 22:00-06:00 Europe/Berlin."
_DAY_END: Final = (24, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of day, which may go over midnight. `parse` makes valid ones.

    Attributes:
        start: when it opens; equal to `end` if it is always open.
        end: when it closes.
        zone: the time zone of both.
    """

    start: time = time()
    end: time = time()
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a window.

        Args:
            text: e.g. `22:00-06:00` (UTC) or `22:00-06:00 Europe/Berlin`; empty: always open.

        Raises:
            UsageError: it is not one.
        """
        if not text.strip():
            return cls()
        match = _WINDOW.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text!r} is not a time of day.", hint=_HINT)
        *numbers, zone = match.groups()
        hour, minute, until_hour, until_minute = map(int, numbers)
        try:
            start = time(hour, minute)
            whole = (until_hour, until_minute) == _DAY_END
            end = time() if whole else time(until_hour, until_minute)
        except ValueError:
            raise UsageError(f"{text!r} has a time that no clock shows.", hint=_HINT) from None
        if start == end and not whole:
            raise UsageError(f"{text!r} begins and ends at the same time.", hint=_HINT)
        return cls(start=start, end=end, zone=zone_of(zone or "UTC"))

    def is_open(self, instant: datetime) -> bool:
        """Whether it is open at an instant, which has a time zone."""
        local = instant.astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return self.start == self.end or local >= self.start or local < self.end

    def opens_after(self, instant: datetime) -> datetime:
        """The instant itself if it is open then, else when it opens next, in UTC.

        A start that the clock skips in spring comes as much later.

        Args:
            instant: with a time zone.
        """
        if self.is_open(instant):
            return instant.astimezone(UTC)
        return next(each for each in self._next(self.start, instant) if self.is_open(each))

    def closes_after(self, instant: datetime) -> datetime | None:
        """When it closes next, in UTC; None if it is always open.

        Args:
            instant: with a time zone; it is open then.
        """
        if self.start == self.end:
            return None
        return next(each for each in self._next(self.end, instant) if not self.is_open(each))

    def _next(self, at: time, instant: datetime) -> list[datetime]:
        """When a time of day comes after an instant, in UTC."""
        today = instant.astimezone(self.zone).date()
        found = (
            datetime.combine(today + timedelta(days=days), at, tzinfo=self.zone).replace(fold=fold).astimezone(UTC)
            for days in range(4)
            for fold in (0, 1)
        )
        return sorted(each for each in found if each > instant)
