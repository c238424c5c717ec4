"""The sections of a read, each read whole, or told apart as partial or denied: what a user may not read is never
silently absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fbs_worker.catalogue.model import SECTION_TYPES, DiscoveryType, Section, SectionStatus
from fbs_worker.connectors.fingerprint import Fingerprint
from fbs_worker.connectors.modules import Module, category_paths, modules_of_rows
from fbs_worker.connectors.reader import NESTED_READS_SINCE, Reader, Row, related_id
from fbs_worker.connectors.tables import (
    AUTOMATIONS,
    CATEGORIES,
    DASHBOARDS,
    DEPENDENCIES,
    MODULES,
    REPORTS,
    SCHEDULES,
    TABLES,
    VIEWS,
    XML_IDS,
)
from fbs_worker.connectors.views import View
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing

Answer = TypeVar("Answer")

ACCESS_RIGHTS: Final = "Administration / Access Rights"
SETTINGS: Final = "Administration / Settings"


@dataclass(slots=True)
class Sections:
    """How the sections of one read have ended so far."""

    _ended: dict[str, Section] = field(default_factory=dict)

    def complete(self, name: str, rows: int) -> None:
        """A section was read whole."""
        self._ended[name] = Section(name=name, status=SectionStatus.COMPLETE, rows=rows)

    def grew(self, name: str, rows: int) -> None:
        """More rows of a section that is read in a stream."""
        before = self._ended.get(name)
        status = before.status if before else SectionStatus.COMPLETE
        needs, detail = (before.needs, before.detail) if before else ("", "")
        total = rows + (before.rows if before else 0)
        self._ended[name] = Section(name=name, status=status, rows=total, needs=needs, detail=detail)

    def partial(self, name: str, *, needs: str, detail: str, rows: int = 0) -> None:
        """A section of which only a part could be read."""
        self._ended[name] = Section(name=name, status=SectionStatus.PARTIAL, rows=rows, needs=needs, detail=detail)

    def denied(self, name: str, error: OdooAccessDenied, *, needs: str) -> None:
        """A section that the user may not read.

        Args:
            name: the section.
            error: Odoo's refusal; the groups that it names are taken over.
            needs: the group that is known to do, where the refusal names none.
        """
        groups = error.context.get("groups") or []
        self._ended[name] = Section(
            name=name,
            status=SectionStatus.DENIED,
            needs=" or ".join(groups) or needs,
            detail=f"this user may not read the {name}",
        )

    def told(self) -> tuple[Section, ...]:
        """All sections so far, in the order in which they were read."""
        return tuple(self._ended.values())

    def incomplete(self, kind: DiscoveryType) -> tuple[str, ...]:
        """The sections that a discovery type is made from and that are not complete."""
        return tuple(
            section.name
            for section in self._ended.values()
            if section.status is not SectionStatus.COMPLETE and kind in SECTION_TYPES.get(section.name, ())
        )


@dataclass(frozen=True, slots=True)
class SectionReader:
    """Reads one section after another.

    Attributes:
        reader: reads tables.
        sections: where the ends are written down.
        fingerprint: where what a later refresh compares with is written down.
    """

    reader: Reader
    sections: Sections
    fingerprint: Fingerprint

    def modules(self) -> list[Module]:
        """Every module that the server knows, with category and dependencies: one call on Odoo 17 and later."""
        if self.reader.major >= NESTED_READS_SINCE:
            specification: dict[str, Any] = {column: {} for column in TABLES[MODULES].columns}
            parent: dict[str, Any] = {"fields": {"name": {}, "parent_id": {"fields": {"name": {}}}}}
            specification["category_id"] = {"fields": {"name": {}, "parent_id": parent}}
            specification["dependencies_id"] = {"fields": {"name": {}}}
            rows = self.reader.nested(MODULES, specification)
            modules = modules_of_rows(rows)
        else:
            columns = [name for name in TABLES[MODULES].columns if name != "dependencies_id"]
            rows = [row for page in self.reader.pages(MODULES, [], columns) for row in page]
            depends: dict[int, set[str]] = {}
            for row in self.reader.table(DEPENDENCIES):
                depends.setdefault(related_id(row["module_id"]) or 0, set()).add(row["name"])
            modules = modules_of_rows(rows, depends=depends, categories=category_paths(self.reader.table(CATEGORIES)))
        self.sections.complete("modules", len(rows))
        self.fingerprint.began = self.reader.transport.clock
        self.fingerprint.saw_table(MODULES, rows)
        return modules

    def views(self) -> list[View]:
        """Every form, graph and pivot, with its own arch."""
        rows = self._guarded("views", SETTINGS, lambda: self.reader.table(VIEWS))
        self.fingerprint.saw_table(VIEWS, rows)
        return [view_of_row(row) for row in rows]

    def action_names(self, views: Iterable[View]) -> dict[str, str]:
        """What the buttons of views open: the external name of each action, by the id that the button gives.

        Odoo keeps such a button's target as a number, which means nothing on another server. (The `xml_id` of
        `ir.actions.actions` is empty: external names belong to the kinds of action below it.)
        """
        numbers = {number for view in views for number in action_ids(view.arch)}
        if not numbers:
            return {}
        rows = self.reader.table(XML_IDS, domain=[("res_id", "in", sorted(numbers))])
        return {str(row["res_id"]): f"{row['module']}.{row['name']}" for row in rows}

    def automations(self) -> list[Row]:
        """Every automation rule, archived ones too; none where the module is not installed."""
        if not self.reader.columns(AUTOMATIONS):
            self.sections.complete("automations", 0)
            return []
        rows = self._guarded("automations", SETTINGS, lambda: self.reader.table(AUTOMATIONS))
        self.fingerprint.workflow.see(rows)
        actions = (action for row in rows for action in row.get("action_server_ids") or ())
        self.fingerprint.workflow.see(action for action in actions if isinstance(action, dict))
        return rows

    def schedules(self) -> list[Row]:
        """Every scheduled action, archived ones too."""
        rows = self._guarded("schedules", SETTINGS, lambda: self.reader.table(SCHEDULES))
        self.fingerprint.workflow.see(rows)
        self.fingerprint.workflow.see(
            row["ir_actions_server_id"] for row in rows if isinstance(row.get("ir_actions_server_id"), Mapping)
        )
        return rows

    def reports(self) -> list[Row]:
        """Every printed report."""
        return self._guarded("reports", SETTINGS, lambda: self.reader.table(REPORTS))

    def dashboards(self) -> list[Row]:
        """Every spreadsheet dashboard; none where the module is not installed."""
        if not self.reader.columns(DASHBOARDS):
            self.sections.complete("dashboards", 0)
            return []
        return self._guarded("dashboards", "Dashboard / Admin", lambda: self.reader.table(DASHBOARDS))

    def _guarded(self, name: str, needs: str, read: Callable[[], list[Answer]]) -> list[Answer]:
        try:
            rows = read()
        except OdooAccessDenied as exc:
            self.sections.denied(name, exc, needs=needs)
            return []
        except OdooModelMissing:
            rows = []
        self.sections.complete(name, len(rows))
        return rows


def view_of_row(row: Row) -> View:
    """A view from a row of `ir.ui.view`."""
    return View(
        id=row["id"],
        name=row.get("name") or "",
        model=row.get("model") or "",
        kind=row["type"],
        arch=row.get("arch_db") or "",
        parent=related_id(row.get("inherit_id")),
        primary=row.get("mode") != "extension",
        priority=row.get("priority") or 0,
        xml_id=row.get("xml_id") or "",
    )


def action_ids(arch: str) -> set[int]:
    """The ids of the actions that an arch's buttons open."""
    if 'type="action"' not in arch:
        return set()
    # a look at the text is enough here, and many times cheaper than parsing each arch twice
    return {int(piece.split('"', 1)[0]) for piece in arch.split('name="')[1:] if piece.split('"', 1)[0].isdecimal()}


def fields_of_description(
    model: str, described: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Row], dict[int, list[Row]]]:
    """What `fields_get` says of a model, in the shape of rows of `ir.model.fields` and their selection values."""
    rows: list[Row] = []
    selections: dict[int, list[Row]] = {}
    for number, (name, facts) in enumerate(sorted(described.items()), start=1):
        rows.append(
            {
                "id": number,
                "model": model,
                "name": name,
                "field_description": facts.get("string"),
                "ttype": facts["type"],
                "required": facts.get("required"),
                "readonly": facts.get("readonly"),
                "store": facts.get("store"),
                "size": facts.get("size"),
                "relation": facts.get("relation"),
                "relation_field": facts.get("relation_field"),
                "currency_field": facts.get("currency_field"),
                "translate": facts.get("translate"),
                "company_dependent": facts.get("company_dependent"),
            }
        )
        values: Sequence[Sequence[Any]] = facts.get("selection") or ()
        selections[number] = [
            {"id": place, "sequence": place, "value": value, "name": label}
            for place, (value, label) in enumerate(values)
        ]
    return rows, selections
