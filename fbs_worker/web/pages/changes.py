"""What several refreshes in a row changed, taken together. Pure.

A thing that was added and then taken away again is not told; one that changed twice is told once, with the version that
it had before the first and has after the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fbs_worker.catalogue.model import DiscoveryType

KINDS: Final = ("added", "changed", "removed")

_ORDER: Final = {str(kind): place for place, kind in enumerate(DiscoveryType)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetChange:
    """One thing, as it is after all of them.

    Attributes:
        kind: `added`, `changed` or `removed`.
        type: its discovery type.
        name: its name.
        version: its version after.
        previous: its version before; empty when it was not there.
        fields: dotted paths of what differs, sorted.
        breaking: something was taken away, retyped or newly required on the way.
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
    """What changed between two refreshes.

    Attributes:
        counts: how many things of each kind, all of them.
        shown: the first of each kind: breaking ones first, then modules, models and so on.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    shown: Mapping[str, Sequence[NetChange]] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Nothing changed."""
        return not any(self.counts.values())


def summarise_changes(reports: Iterable[Mapping[str, Any]], *, most: int) -> ChangeSummary:
    """Take the reports of refreshes in a row together.

    Args:
        reports: `ChangeReport.to_dict` of each, in the order in which they were.
        most: how many things of each kind are shown.
    """
    found: dict[tuple[str, str], NetChange] = {}
    for report in reports:
        for kind in ("removed", "changed", "added"):
            for told in report.get(kind) or ():
                change = _net(kind, told)
                key = change.type, change.name
                together = _then(found.pop(key, None), change)
                if together is not None:
                    found[key] = together
    by_kind: dict[str, list[NetChange]] = {kind: [] for kind in KINDS}
    for change in found.values():
        by_kind[change.kind].append(change)
    for changes in by_kind.values():
        changes.sort(key=lambda change: (not change.breaking, _ORDER.get(change.type, len(_ORDER)), change.name))
    return ChangeSummary(
        counts={kind: len(changes) for kind, changes in by_kind.items()},
        shown={kind: changes[:most] for kind, changes in by_kind.items()},
    )


def _net(kind: str, told: Mapping[str, Any]) -> NetChange:
    return NetChange(
        kind=kind,
        type=str(told.get("type", "")),
        name=str(told.get("name", "")),
        version=str(told.get("version", "")),
        previous=str(told.get("previous_version") or ""),
        fields=tuple(sorted(map(str, told.get("fields") or ()))),
        breaking=bool(told.get("breaking")),
    )


def _then(before: NetChange | None, after: NetChange) -> NetChange | None:
    """Two changes of one thing as one; None where they leave nothing."""
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
