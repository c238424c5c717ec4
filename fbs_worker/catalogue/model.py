"""What a read of Odoo yields, and what saving it changed: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol


class DiscoveryType(StrEnum):
    """The four kinds of row in `fbs_discoveries`."""

    MODULE = "module"
    MODEL = "model"
    WORKFLOW = "workflow"
    BI_FEATURE = "bi_feature"


SECTION_TYPES: Final[Mapping[str, tuple[DiscoveryType, ...]]] = {
    "modules": tuple(DiscoveryType),
    "models": (DiscoveryType.MODEL, DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE),
    "fields": (DiscoveryType.MODEL, DiscoveryType.WORKFLOW),
    "selections": (DiscoveryType.MODEL, DiscoveryType.WORKFLOW),
    "views": (DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE),
    "automations": (DiscoveryType.WORKFLOW,),
    "schedules": (DiscoveryType.WORKFLOW,),
    "reports": (DiscoveryType.BI_FEATURE,),
    "dashboards": (DiscoveryType.BI_FEATURE,),
}
"""The sections of a read, and the discovery types whose rows are made from each."""


class SectionStatus(StrEnum):
    """How a part of a read ended."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a read of Odoo.

    Attributes:
        name: e.g. `models`, `views`, `automations`.
        status: how it ended.
        rows: how many rows of Odoo were read for it.
        needs: the Odoo group that would make it complete, when it is not.
        detail: one line for a person on what is missing.
    """

    name: str
    status: SectionStatus
    rows: int = 0
    needs: str = ""
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, empty values left out."""
        told = {"name": self.name, "status": str(self.status), "rows": self.rows, "needs": self.needs}
        told["detail"] = self.detail
        return {key: value for key, value in told.items() if value != ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """One thing that was found: a row of `fbs_discoveries` before it has a version number.

    Attributes:
        discovery_type: which of the four kinds.
        domain: the business area it was read for.
        name: the module's, model's, workflow's or BI feature's name, unique within type and domain.
        version: Odoo's own version for a module; None for everything else (the catalogue counts those).
        metadata: facts about the thing; `source` and, if its sections were not all complete, `incomplete` among them.
        schema_definition: what it is made of; None for a module.
    """

    discovery_type: DiscoveryType
    domain: str
    name: str
    version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema_definition: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that a saved snapshot changed.

    Attributes:
        discovery_type: which kind of thing.
        name: its name.
        version: its version now.
        previous_version: its version before; None when it is new.
        fields: dotted paths of what differs, sorted, e.g. `fields.amount_total.type`.
        breaking: something was taken away, retyped or newly required.
    """

    discovery_type: DiscoveryType
    name: str
    version: str
    previous_version: str | None = None
    fields: Sequence[str] = ()
    breaking: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "type": str(self.discovery_type),
            "name": self.name,
            "version": self.version,
            "previous_version": self.previous_version,
            "fields": list(self.fields),
            "breaking": self.breaking,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A thing that was found but does not fit its column; it is told, never cut."""

    discovery_type: DiscoveryType
    name: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"type": str(self.discovery_type), "name": self.name, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReport:
    """What saving a snapshot changed.

    Attributes:
        domain: the business area.
        added: things that were not there, or had vanished and are back.
        removed: things that Odoo no longer has; their rows are inactive now.
        changed: things of which a new version was written (a module of unchanged version: updated in place).
        unchanged: how many things are as they were.
        skipped: things that do not fit a column.
        counts: active rows per discovery type after the save.
        sections: how each part of the read ended.
        read: False when the fingerprint said that nothing changed, and nothing was read.
    """

    domain: str
    added: Sequence[Change] = ()
    removed: Sequence[Change] = ()
    changed: Sequence[Change] = ()
    unchanged: int = 0
    skipped: Sequence[Skipped] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    read: bool = True

    @property
    def nothing_changed(self) -> bool:
        """No row was written."""
        return not (self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "domain": self.domain,
            "read": self.read,
            "added": [change.to_dict() for change in self.added],
            "removed": [change.to_dict() for change in self.removed],
            "changed": [change.to_dict() for change in self.changed],
            "unchanged": self.unchanged,
            "skipped": [skip.to_dict() for skip in self.skipped],
            "counts": dict(self.counts),
            "sections": [section.to_dict() for section in self.sections],
        }


class Snapshot(Protocol):
    """One read of an Odoo, streamed: iterate it once, then ask for what is only known at the end.

    Attributes:
        domain: the business area it is for.
        types: the discovery types that it covers; rows of other types are left alone by a save.
        source: the Odoo that was read: `{"url": …, "database": …, "series": …}`, without credentials.
        sections: how each part ended; complete only once the iteration has ended.
        fingerprint: what a later refresh compares with; None before the iteration's end, or where the user's rights
            do not allow one.
    """

    domain: str
    types: frozenset[DiscoveryType]
    source: Mapping[str, str]

    @property
    def sections(self) -> Sequence[Section]: ...

    @property
    def fingerprint(self) -> Mapping[str, Any] | None: ...

    def __iter__(self) -> Iterator[Discovery]: ...


def incomplete_types(sections: Sequence[Section]) -> frozenset[DiscoveryType]:
    """The discovery types of which a section is not complete: what they lack may not be called gone."""
    touched: set[DiscoveryType] = set()
    for section in sections:
        if section.status is not SectionStatus.COMPLETE:
            touched.update(SECTION_TYPES.get(section.name, tuple(DiscoveryType)))
    return frozenset(touched)
