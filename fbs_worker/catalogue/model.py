"""Values of the catalogue: discoveries and snapshots of a read, change reports of a save. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol


class DiscoveryType(StrEnum):
    """The types of rows in `fbs_discoveries`."""

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
"""The sections of a read, and the discovery types derived from each."""


class SectionStatus(StrEnum):
    """Outcome of a section."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Outcome of one section of a read.

    Attributes:
        name: e.g. `models`, `views`, `automations`.
        status: complete, partial or denied.
        rows: number of rows read from Odoo.
        needs: the Odoo group that grants the missing rights; empty when complete.
        detail: one line on the missing part.
    """

    name: str
    status: SectionStatus
    rows: int = 0
    needs: str = ""
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without empty values."""
        values = {"name": self.name, "status": str(self.status), "rows": self.rows, "needs": self.needs}
        values["detail"] = self.detail
        return {key: value for key, value in values.items() if value != ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """A discovered module, model, workflow or BI feature: a row of `fbs_discoveries` without its version number.

    Attributes:
        discovery_type: its type.
        domain: the business domain of the read.
        name: its name, unique within type and domain.
        version: Odoo's version of a module; None for all other types, which the catalogue numbers.
        metadata: descriptive facts, with `source` and, where a section was not complete, `incomplete`.
        schema_definition: its structure; None for a module.
    """

    discovery_type: DiscoveryType
    domain: str
    name: str
    version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema_definition: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A discovery changed by a save.

    Attributes:
        discovery_type: its type.
        name: its name.
        version: its version after the save.
        previous_version: its version before the save; None for a new discovery.
        fields: dotted paths of the differences, sorted, e.g. `fields.amount_total.type`.
        breaking: something was removed, retyped or newly required.
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
    """A discovery that does not fit its column; reported, never truncated."""

    discovery_type: DiscoveryType
    name: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"type": str(self.discovery_type), "name": self.name, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReport:
    """The changes of a save.

    Attributes:
        domain: the business domain.
        added: new discoveries, and inactive ones that Odoo has again.
        removed: discoveries that Odoo no longer has; their rows become inactive.
        changed: discoveries with a new version (a module of unchanged version: updated in place).
        unchanged: number of unchanged discoveries.
        skipped: discoveries that do not fit a column.
        counts: active rows per discovery type after the save.
        sections: outcome of each section of the read.
        read: false when nothing was read because the fingerprint was unchanged.
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
        """Whether the save wrote no row."""
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
    """A streamed read of an Odoo: iterate it once, then read `sections` and `fingerprint`.

    Attributes:
        domain: the business domain.
        types: the covered discovery types; a save does not touch rows of other types.
        source: the Odoo server: `{"url": …, "database": …, "series": …}`, without credentials.
        sections: outcome of each section; complete after the iteration.
        fingerprint: input of a later refresh's comparison; None before the end of the iteration, or where the user's
            rights do not allow one.
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
    """The discovery types with an incomplete section: a missing discovery of theirs may still exist in Odoo."""
    types: set[DiscoveryType] = set()
    for section in sections:
        if section.status is not SectionStatus.COMPLETE:
            types.update(SECTION_TYPES.get(section.name, tuple(DiscoveryType)))
    return frozenset(types)
