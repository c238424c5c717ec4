"""Format times, durations, sizes and counts for display. Pure.

Every number has its unit; every time is relative, with the exact time as its title.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import humanize
from markupsafe import Markup

from fbs_worker.catalogue.model import DiscoveryType

TYPE_LABELS: Final = {
    DiscoveryType.MODULE: ("module", "modules"),
    DiscoveryType.MODEL: ("model", "models"),
    DiscoveryType.WORKFLOW: ("workflow", "workflows"),
    DiscoveryType.BI_FEATURE: ("BI feature", "BI features"),
}
"""Singular and plural of each discovery type."""


def as_utc(value: str | datetime | None) -> datetime | None:
    """Convert a timestamp to UTC.

    Args:
        value: ISO 8601 or a datetime; without a zone it is UTC, as the database stores it.

    Returns:
        The timestamp; None if the value is None or empty.
    """
    if value is None or value == "":
        return None
    timestamp = datetime.fromisoformat(value) if isinstance(value, str) else value
    return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)


def exact(value: str | datetime | None) -> str:
    """Format a timestamp to the second, in UTC; empty for None."""
    timestamp = as_utc(value)
    return timestamp.strftime("%Y-%m-%d %H:%M:%S UTC") if timestamp else ""


def relative(value: str | datetime | None, *, now: datetime) -> str:
    """Format a timestamp relative to now: `3 minutes ago`, `2 hours from now`; empty for None."""
    timestamp = as_utc(value)
    if timestamp is None:
        return ""
    passed = now - timestamp
    return "just now" if abs(passed) < timedelta(seconds=2) else humanize.naturaltime(passed, months=False)


def time_tag(value: str | datetime | None, *, now: datetime, both: bool = False) -> Markup:
    """Format a timestamp as an HTML `time` element: relative text, the exact time as attribute and title.

    Args:
        value: ISO 8601 or a datetime; None gives an empty string.
        now: the current time.
        both: show the exact time, too.
    """
    timestamp = as_utc(value)
    if timestamp is None:
        return Markup("")
    text, precise = relative(timestamp, now=now), exact(timestamp)
    shown = Markup('{} <span class="quiet">{}</span>').format(text, precise) if both else text
    iso = timestamp.isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, precise, shown)


def duration(seconds: float | None) -> str:
    """Format a duration: `80 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`; empty for None."""
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
    """Format a number of bytes: `512 Bytes`, `9.3 MB`; empty for None."""
    return "" if count is None else humanize.naturalsize(count)


def number(count: float | None) -> str:
    """Format a number with thousands separators; empty for None."""
    return "" if count is None else f"{count:,}"


def amount(count: int, one: str, many: str = "") -> str:
    """Format a count with its noun: `1 model`, `157 models`.

    Args:
        count: the count.
        one: the singular.
        many: the plural; default: the singular with an s.
    """
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def of_type(count: int, discovery_type: str) -> str:
    """Format a count of discoveries of one type: `1 BI feature`."""
    return amount(count, *TYPE_LABELS[DiscoveryType(discovery_type)])


def kind(name: str) -> str:
    """Return the label of a discovery type: `BI feature` for `bi_feature`; other names are returned unchanged."""
    return TYPE_LABELS[DiscoveryType(name)][0] if name in list(DiscoveryType) else name


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Join the first names, and count the others: `a, b, c and 2 more`."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {number(more)} more" if more > 0 else "")
