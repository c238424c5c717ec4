"""Combine the change reports of successive refreshes into net changes. Pure.

A discovery that was added and later removed is omitted. One that changed repeatedly appears once, with its version
before the first change and after the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fbs_worker.catalogue.model import DiscoveryType

KINDS: Final = ("added", "changed", "removed")

_ORDER: Final = {str(kind): rank for rank, kind in enumerate(DiscoveryType)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetChange:
    """The net change of one discovery.

    Attributes:
        kind: `added`, `changed` or `removed`.
        type: the discovery type.
        name: the discovery's name.
        version: its version after the last refresh.
        previous: its version before the first refresh; empty if it did not exist.
        fields: dotted paths of the differences, sorted.
        breaking: a field was removed, retyped or made required.
    """

    kind: str
    type: str
    name: str
    version: str
    previous: str = ""
    fields: tuple[str, ...] = ()
    breaking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSummary:
    """The net changes between two refreshes.

    Attributes:
        counts: number of changes per kind.
        shown: the first changes per kind: breaking ones first, then by discovery type and name.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    shown: Mapping[str, Sequence[NetChange]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not any(self.counts.values())


def summarise_changes(reports: Iterable[Mapping[str, Any]], *, limit: int) -> ChangeSummary:
    """Combine the change reports of successive refreshes.

    Args:
        reports: `ChangeReport.to_dict` of each, in chronological order.
        limit: maximum number of changes per kind in `shown`.
    """
    net: dict[tuple[str, str], NetChange] = {}
    for report in reports:
        for kind in ("removed", "changed", "added"):
            for entry in report.get(kind) or ():
                change = _net(kind, entry)
                key = change.type, change.name
                combined = _combine(net.pop(key, None), change)
                if combined is not None:
                    net[key] = combined
    by_kind: dict[str, list[NetChange]] = {kind: [] for kind in KINDS}
    for change in net.values():
        by_kind[change.kind].append(change)
    for changes in by_kind.values():
        changes.sort(key=lambda change: (not change.breaking, _ORDER.get(change.type, len(_ORDER)), change.name))
    return ChangeSummary(
        counts={kind: len(changes) for kind, changes in by_kind.items()},
        shown={kind: changes[:limit] for kind, changes in by_kind.items()},
    )


def _net(kind: str, entry: Mapping[str, Any]) -> NetChange:
    return NetChange(
        kind=kind,
        type=str(entry.get("type", "")),
        name=str(entry.get("name", "")),
        version=str(entry.get("version", "")),
        previous=str(entry.get("previous_version") or ""),
        fields=tuple(sorted(map(str, entry.get("fields") or ()))),
        breaking=bool(entry.get("breaking")),
    )


def _combine(before: NetChange | None, after: NetChange) -> NetChange | None:
    """Combine successive changes of one discovery; None if they cancel each other out."""
    if before is None:
        return after
    if before.kind == "added":
        return None if after.kind == "removed" else replace(after, kind="added", previous="", fields=(), breaking=False)
    if after.kind == "removed":
        return replace(after, previous=before.previous or before.version)
    return NetChange(
        kind="changed",
        type=after.type,
        name=after.name,
        version=after.version,
        previous=before.previous or before.version,
        fields=tuple(sorted({*before.fields, *after.fields})),
        breaking=before.breaking or after.breaking,
    )
