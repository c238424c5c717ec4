"""Times, lengths and amounts as people read them. Pure.

Every number is told with its unit, every time with words that need no calendar and the exact time behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from fbs_worker.catalogue.model import DiscoveryType

ONE_AND_MANY: Final = {
    DiscoveryType.MODULE: ("module", "modules"),
    DiscoveryType.MODEL: ("model", "models"),
    DiscoveryType.WORKFLOW: ("workflow", "workflows"),
    DiscoveryType.BI_FEATURE: ("BI feature", "BI features"),
}

_STEPS: Final = ((60, "second", 1), (3_600, "minute", 60), (86_400, "hour", 3_600), (30 * 86_400, "day", 86_400))
_MONTH: Final = 30.44 * 86_400
_YEAR: Final = 365.25 * 86_400
_SIZES: Final = ("bytes", "kB", "MB", "GB", "TB")


def moment(told: str | datetime | None) -> datetime | None:
    """A time in UTC, of ISO 8601 or of a value without a zone, which PostgreSQL keeps in UTC for us."""
    if told is None or told == "":
        return None
    found = datetime.fromisoformat(told) if isinstance(told, str) else told
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def exact(told: str | datetime | None) -> str:
    """The time to the second, in UTC."""
    found = moment(told)
    return found.strftime("%Y-%m-%d %H:%M:%S UTC") if found else ""


def relative(told: str | datetime | None, *, now: datetime) -> str:
    """How long ago, or until when: `3 minutes ago`, `in 2 hours`."""
    found = moment(told)
    if found is None:
        return ""
    seconds = (now - found).total_seconds()
    if abs(seconds) < 2:
        return "just now"
    words = about(abs(seconds))
    return f"{words} ago" if seconds > 0 else f"in {words}"


def about(seconds: float) -> str:
    """A length of time, in its largest unit."""
    for most, unit, one in _STEPS:
        if seconds < most:
            return amount(int(seconds // one), unit)
    if seconds < _YEAR:
        return amount(max(1, int(seconds // _MONTH)), "month")
    return amount(int(seconds // _YEAR), "year")


def time_tag(told: str | datetime | None, *, now: datetime, both: bool = False) -> Markup:
    """The time as HTML: relative words, the exact time for machines and for who points at it.

    Args:
        told: ISO 8601, or a time; nothing comes of None.
        now: the time now.
        both: the exact time is shown, too.
    """
    found = moment(told)
    if found is None:
        return Markup("")
    words, precise = relative(found, now=now), exact(found)
    shown = Markup('{} <span class="quiet">{}</span>').format(words, precise) if both else words
    stamp = found.isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, precise, shown)


def duration(seconds: float | None) -> str:
    """How long something took: `80 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(count: float | None) -> str:
    """An amount of bytes: `512 bytes`, `9.3 MB`."""
    if count is None:
        return ""
    value = float(count)
    for unit in _SIZES[:-1]:
        if value < 1_000:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:.1f} {_SIZES[-1]}"


def number(count: float | None) -> str:
    """A count with its thousands divided."""
    return "" if count is None else f"{count:,}"


def amount(count: int, one: str, many: str = "") -> str:
    """A count with what is limited_body: `1 model`, `157 models`."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def of_type(count: int, discovery_type: str) -> str:
    """A count of discoveries of one type."""
    return amount(count, *ONE_AND_MANY[DiscoveryType(discovery_type)])


def kind(name: str) -> str:
    """A kind of thing as people write it: `BI feature` for `bi_feature`."""
    return ONE_AND_MANY[DiscoveryType(name)][0] if name in list(DiscoveryType) else name


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {number(more)} more" if more > 0 else "")
