"""The sections of a read: each is complete, partial or denied, so missing rights never look like missing data."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fbs_worker.catalogue.model import SECTION_TYPES, DiscoveryType, Section, SectionStatus
from fbs_worker.connectors.fingerprint import Fingerprint
from fbs_worker.connectors.modules import Module, category_paths, modules_of_rows
from fbs_worker.connectors.odoo_errors import one_line
from fbs_worker.connectors.reader import NESTED_READS_SINCE, SOURCE_LANGUAGE, Reader, Row, related_id
from fbs_worker.connectors.tables import (
    AUTOMATIONS,
    CATEGORIES,
    DASHBOARD_GROUPS,
    DASHBOARDS,
    DEPENDENCIES,
    DESCRIBED,
    GROUPS,
    MODULES,
    NOT_ACTIONS,
    REPORTS,
    SCHEDULES,
    SERVER_ACTIONS,
    TABLES,
    VIEWS,
    XML_IDS,
)
from fbs_worker.connectors.views import View
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing

ACCESS_RIGHTS: Final = "Administration / Access Rights"
MAX_NAMED: Final = 10
"""Maximum number of skipped rows that are named."""
_ACTION_IDS: Final = re.compile(r"""name=(?<=\bname=)["'](?:name["'][^<>]*>\s*)?([0-9]{1,10})\s*["'<]""")
"""The name of a button or of an attribute: at most ten digits, an integer of PostgreSQL. (A pattern that begins with
letters is searched for 15 times as fast as one that begins with a boundary.)"""
SETTINGS: Final = "Administration / Settings"
DASHBOARD_ADMIN: Final = "Dashboard / Admin"


@dataclass(slots=True)
class Sections:
    """Outcomes of the sections of one read."""

    _outcomes: dict[str, Section] = field(default_factory=dict)

    def complete(self, name: str, rows: int) -> None:
        """Record a complete section."""
        self._outcomes[name] = Section(name=name, status=SectionStatus.COMPLETE, rows=rows)

    def add_rows(self, name: str, rows: int) -> None:
        """Add rows to a streamed section."""
        before = self._outcomes.get(name)
        status = before.status if before else SectionStatus.COMPLETE
        needs, detail = (before.needs, before.detail) if before else ("", "")
        total = rows + (before.rows if before else 0)
        self._outcomes[name] = Section(name=name, status=status, rows=total, needs=needs, detail=detail)

    def partial(self, name: str, *, needs: str, detail: str, rows: int = 0) -> None:
        """Record a section that could be read only in part."""
        self._outcomes[name] = Section(name=name, status=SectionStatus.PARTIAL, rows=rows, needs=needs, detail=detail)

    def skipped(self, name: str, skipped: Sequence[str]) -> None:
        """Record rows of a complete section that were skipped: damaged, or too much work."""
        before = self._outcomes[name]
        if skipped and before.status is not SectionStatus.DENIED:
            named = ", ".join(one_line(row) for row in skipped[:MAX_NAMED])
            more = f" and {len(skipped) - MAX_NAMED} more" if len(skipped) > MAX_NAMED else ""
            detail = f"skipped as damaged or too complex: {named}{more}"
            self.partial(name, needs=before.needs, detail=detail, rows=before.rows)

    def denied(self, name: str, error: OdooAccessDenied, *, needs: str) -> None:
        """Record a section that the user may not read.

        Args:
            name: the section.
            error: Odoo's error; its groups are recorded.
            needs: the group that grants the right, where the error has none.
        """
        groups = error.context.get("groups") or []
        self._outcomes[name] = Section(
            name=name,
            status=SectionStatus.DENIED,
            needs=" or ".join(groups) or needs,
            detail=f"this user may not read the {name}",
        )

    def all(self) -> tuple[Section, ...]:
        """The outcomes so far, in the order of reading; copied at once, because the prefetching thread adds to them."""
        return tuple(self._outcomes.values())

    def incomplete(self, kind: DiscoveryType) -> tuple[str, ...]:
        """The incomplete sections that a discovery type is derived from."""
        return tuple(
            section.name
            for section in self.all()
            if section.status is not SectionStatus.COMPLETE and kind in SECTION_TYPES.get(section.name, ())
        )


@dataclass(frozen=True, slots=True)
class SectionReader:
    """Reads sections, and records their outcomes and the facts for a later refresh.

    Attributes:
        reader: reads tables.
        sections: records the outcomes.
        fingerprint: records the facts that a later refresh compares.
    """

    reader: Reader
    sections: Sections
    fingerprint: Fingerprint

    def modules(self) -> list[Module]:
        """Read all modules of the server with category and dependencies: one call on Odoo 17 and later.

        Up to Odoo 18 an ordinary user may not read the dependencies, up to 15 not the modules either: what is readable
        is read. Titles are in the language of labels; categories, which select modules, are not translated.
        """
        modules = self._modules_in_one_call()
        if modules is None:
            modules = self._modules_by_table()
        self.fingerprint.began, self.fingerprint.lang = self.reader.transport.clock, self.reader.lang
        return modules

    def _modules_in_one_call(self) -> list[Module] | None:
        """All of it; None where the server cannot nest rows, or the user may not read all of the tables."""
        if self.reader.major < NESTED_READS_SINCE:
            return None
        specification: dict[str, Any] = {column: {} for column in TABLES[MODULES].columns}
        parent: dict[str, Any] = {"fields": {"name": {}, "parent_id": {"fields": {"name": {}}}}}
        untranslated = {"lang": SOURCE_LANGUAGE}
        specification["category_id"] = {"fields": {"name": {}, "parent_id": parent}, "context": untranslated}
        specification["dependencies_id"] = {"fields": {"name": {}}}
        try:
            rows = self.reader.nested(MODULES, specification)
        except OdooAccessDenied:
            return None
        self._record_modules(rows)
        return modules_of_rows(rows)

    def _modules_by_table(self) -> list[Module]:
        columns = [name for name in TABLES[MODULES].columns if name != "dependencies_id"]
        try:
            rows = [row for page in self.reader.pages(MODULES, [], columns) for row in page]
        except OdooAccessDenied as exc:
            self.sections.denied("modules", exc, needs=SETTINGS)
            return []
        unreadable: dict[str, OdooAccessDenied] = {}
        also: dict[str, list[Row]] = {}
        for model, name in ((DEPENDENCIES, "dependencies"), (CATEGORIES, "categories")):
            try:
                also[model] = self.reader.table(model)
            except OdooAccessDenied as exc:
                unreadable[name] = exc
        depends: dict[int, set[str]] = {}
        for row in also.get(DEPENDENCIES, ()):
            depends.setdefault(related_id(row["module_id"]) or 0, set()).add(row["name"])
        self._record_modules(rows)
        if unreadable:
            groups = {group for exc in unreadable.values() for group in exc.context.get("groups") or ()}
            detail = f"without their {' and '.join(unreadable)}, which this user may not read"
            self.sections.partial(
                "modules", needs=" or ".join(sorted(groups)) or SETTINGS, detail=detail, rows=len(rows)
            )
        return modules_of_rows(rows, depends=depends, categories=category_paths(also.get(CATEGORIES, ())))

    def _record_modules(self, rows: Sequence[Row]) -> None:
        self.sections.complete("modules", len(rows))
        self.fingerprint.add_table(MODULES, rows)

    def views(self) -> list[View]:
        """Read all forms, graphs and pivots, each with its own arch."""
        rows = self._read_section("views", VIEWS, needs=SETTINGS)
        self.fingerprint.add_table(VIEWS, rows)
        return [view_of_row(row) for row in rows]

    def names(
        self, views: Iterable[View], forms_of: Collection[str], dashboards: Sequence[Row] = ()
    ) -> tuple[dict[str, str], dict[int, str]]:
        """Read the external names of the actions that buttons open and of the groups that views are limited to.

        Odoo stores the target of such a button as an id, which differs between servers. (The `xml_id` of
        `ir.actions.actions` is empty: external names belong to its subtypes.)

        Args:
            views: all views.
            forms_of: the models whose forms' actions are needed.
            dashboards: rows of dashboards, which get their external name and that of their group: `xml_id` and
                `group_xml_id`.

        Returns:
            Names of actions by the id in the button's `name`, and of groups by id.
        """
        views = list(views)
        forms = (view for view in views if view.kind == "form" and view.model in forms_of)
        actions = {number for view in forms for number in action_ids(view.arch)}
        groups_of = {row["id"]: related_id(row.get("dashboard_group_id")) or 0 for row in dashboards}
        needed = (
            (["model", "not in", list(NOT_ACTIONS)], actions),
            (["model", "=", GROUPS], {number for view in views for number in view.groups}),
            (["model", "=", DASHBOARDS], {*groups_of}),
            (["model", "=", DASHBOARD_GROUPS], {*groups_of.values()}),
        )
        terms = [["&", tuple(model), ("res_id", "in", sorted(ids))] for model, ids in needed if ids]
        if not terms:
            return {}, {}
        domain = ["|"] * (len(terms) - 1) + [part for term in terms for part in term]
        try:
            rows = self.reader.table(XML_IDS, domain=domain)
        except OdooAccessDenied:
            if views:
                raise
            return {}, {}  # any user may read dashboards, not their external names
        # the first of several names, as Odoo's own `get_external_id`
        names = {(row["model"], row["res_id"]): f"{row['module']}.{row['name']}" for row in reversed(rows)}
        for row in dashboards:
            row["xml_id"] = names.get((DASHBOARDS, row["id"]))
            row["group_xml_id"] = names.get((DASHBOARD_GROUPS, groups_of[row["id"]]))
        return (
            {str(number): name for (model, number), name in names.items() if model not in NOT_ACTIONS},
            {number: name for (model, number), name in names.items() if model == GROUPS},
        )

    def automations(self) -> list[Row]:
        """Read all automation rules, including archived ones; none where the module is not installed."""
        if not self.reader.columns(AUTOMATIONS):
            self.sections.complete("automations", 0)
            return []
        rows = self._read_section("automations", AUTOMATIONS, needs=SETTINGS)
        self.fingerprint.workflow.add(rows)
        actions = (action for row in rows for action in row.get("action_server_ids") or ())
        self.fingerprint.workflow.add(action for action in actions if isinstance(action, dict))
        return rows

    def schedules(self) -> list[Row]:
        """Read all scheduled actions, including archived ones."""
        rows = self._read_section("schedules", SCHEDULES, needs=SETTINGS)
        self.fingerprint.workflow.add(rows)
        self.fingerprint.workflow.add(
            row["ir_actions_server_id"] for row in rows if isinstance(row.get("ir_actions_server_id"), Mapping)
        )
        return rows

    def watch_workflow(self) -> None:
        """Record what a refresh asks to find changed automations and scheduled actions.

        On Odoo 19 server actions refer to both; on 14 to 18 each table is asked by itself.
        """
        automations = self.reader.columns(AUTOMATIONS)
        both = {"ir_cron_ids"} | ({"base_automation_id"} if automations else set())
        if both <= self.reader.columns(SERVER_ACTIONS):
            self.fingerprint.watched = {SERVER_ACTIONS: sorted(both)}
            return
        self.fingerprint.watched = {SCHEDULES: ["ir_actions_server_id"]}
        if automations:
            self.fingerprint.watched[AUTOMATIONS] = sorted(automations & {"action_server_id", "action_server_ids"})
        if self.reader.major < NESTED_READS_SINCE:  # the dates of the actions were not read along
            self.fingerprint.workflow.add([{"write_date": self.reader.aggregate(SERVER_ACTIONS, [])["newest"]}])

    def reports(self) -> list[Row]:
        """Read all printed reports."""
        return self._read_section("reports", REPORTS, needs=SETTINGS)

    def dashboards(self) -> list[Row]:
        """Read all spreadsheet dashboards; none where the module is not installed."""
        if not self.reader.columns(DASHBOARDS):
            self.sections.complete("dashboards", 0)
            return []
        rows = self._read_section("dashboards", DASHBOARDS, needs=DASHBOARD_ADMIN)
        if "counts" not in self.fingerprint.answers:
            detail = "record rules may hide rows from this user: each sees the dashboards of the own groups"
            self.sections.partial("dashboards", needs=DASHBOARD_ADMIN, detail=detail, rows=len(rows))
        return rows

    def _read_section(self, name: str, model: str, *, needs: str) -> list[Row]:
        try:
            rows = self.reader.table(model)
        except OdooAccessDenied as exc:
            self.sections.denied(name, exc, needs=needs)
            return []
        except OdooModelMissing:
            rows = []
        self.sections.complete(name, len(rows))
        # Odoo counts the rows of a table (`ir.model.count`) without regard to record rules
        total = self.fingerprint.answers.get("counts", {}).get(model, 0)
        if not TABLES[model].domain and len(rows) < total:
            detail = f"record rules hide {total - len(rows)} of {total} rows from this user"
            self.sections.partial(name, needs=needs, detail=detail, rows=len(rows))
        return rows


def view_of_row(row: Row) -> View:
    """Convert a row of `ir.ui.view`."""
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
        groups=tuple(row.get("groups_id") or ()),
    )


def action_ids(arch: str) -> set[int]:
    """The ids of the actions that the buttons of an arch may open, or that an extension gives to one."""
    # a text search is sufficient here and much cheaper than parsing each arch twice
    return {int(number) for number in _ACTION_IDS.findall(arch)}


def fields_of_description(
    model: str, described: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Row], dict[int, list[Row]]]:
    """Convert the result of `fields_get` to rows of `ir.model.fields` and of their selection values."""
    rows: list[Row] = []
    selections: dict[int, list[Row]] = {}
    for number, (name, facts) in enumerate(sorted(described.items()), start=1):
        columns = {column: facts.get(attribute) for column, attribute in DESCRIBED.items()}
        rows.append({"id": number, "model": model, "name": name, **columns})
        values: Sequence[Sequence[Any]] = facts.get("selection") or ()
        selections[number] = [
            {"id": index, "sequence": index, "value": value, "name": label}
            for index, (value, label) in enumerate(values)
        ]
    return rows, selections
