"""The connector: read the discoveries of a domain from an Odoo server, as a stream.

The number of calls does not depend on the number of models: modules, columns, models, views, the actions of their
buttons, automations, schedules, reports, dashboards, row counts, fields and selection values are one call each, more
only where a table has more rows than a page; and one for each mirrored model with float fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, Snapshot
from fbs_worker.connectors.arch import ArchError
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.fingerprint import Fingerprint, unchanged
from fbs_worker.connectors.modules import ModuleGraph, split_names
from fbs_worker.connectors.normalise import Normaliser, WorkflowFacts, lacking, workflow_definition
from fbs_worker.connectors.prefetch import Prefetcher, in_flight
from fbs_worker.connectors.reader import Reader, Row, grouped, related_id
from fbs_worker.connectors.related import (
    RELATED_COLUMNS,
    RELATED_DOMAIN,
    SELECTION_TYPES,
    RelatedSelections,
    sources_of,
)
from fbs_worker.connectors.sections import ACCESS_RIGHTS, SETTINGS, SectionReader, Sections, fields_of_description
from fbs_worker.connectors.tables import (
    AUTOMATIONS,
    DASHBOARDS,
    FIELDS,
    MODELS,
    MODULES,
    SELECTIONS,
    SERVER_ACTIONS,
    TABLES,
    VIEWS,
)
from fbs_worker.connectors.transitions import default_form
from fbs_worker.connectors.views import Views
from fbs_worker.core.collector import many_objects
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.domains import Domain

_PROBED: Final = (MODELS, FIELDS, VIEWS, SERVER_ACTIONS, AUTOMATIONS, DASHBOARDS)
_PREFETCH: Final = 2

MIRRORED: Final = "mirrored"
"""Key of fingerprints: the models whose digits were read."""


class OdooConnector:
    """Reads one Odoo database through a transport.

    Args:
        transport: an open transport; the caller closes it.
        page_size: maximum rows per call.
        lang: language of labels, e.g. `en_US`.
    """

    def __init__(self, transport: Transport, *, page_size: int = 20_000, lang: str = "en_US") -> None:
        self._transport = transport
        self._page_size = page_size
        self._lang = lang

    @property
    def source(self) -> dict[str, str]:
        """The server: URL without credentials, database, series."""
        server = self._transport.server
        return {"url": server.url, "database": server.database, "series": server.series}

    def unchanged(self, fingerprint: Mapping[str, Any], domain: Domain | None = None) -> bool:
        """Whether the server is unchanged since a snapshot: at most five cheap calls.

        Args:
            fingerprint: the fingerprint of the snapshot.
            domain: the domain to read; another selection of modules than the snapshot's is a change.

        Returns:
            False also where the comparison is not conclusive.

        Raises:
            UnreachableError: the server does not answer.
        """
        if domain is not None and fingerprint.get("selection") != domain.modules.to_dict():
            return False
        return unchanged(self._reader(), fingerprint)

    def read(
        self,
        domain: Domain,
        *,
        types: Collection[DiscoveryType] = tuple(DiscoveryType),
        mirrored: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Snapshot:
        """Read a domain lazily: the calls are made while the snapshot is iterated.

        Args:
            domain: the business domain.
            types: the discovery types to read.
            mirrored: models whose float fields are read with their digits, by one call each.
            progress: receives the sections as steps, and each model.

        Returns:
            The snapshot. Its iteration raises the errors of `Transport.call`, and JobCancelled from the progress.
        """
        return OdooSnapshot(
            domain=domain.name,
            types=frozenset(types),
            source=self.source,
            mirrored=frozenset(mirrored if DiscoveryType.MODEL in types else ()),
            _selector=domain,
            _fingerprint=Fingerprint(selection=domain.modules.to_dict()),
            _normaliser=Normaliser(domain=domain.name, source=self.source),
            _reader=self._reader(),
            _progress=progress or NullProgress(),
        )

    def _reader(self) -> Reader:
        self._transport.held = 0
        return Reader(self._transport, page_size=self._page_size, lang=self._lang)


_Part = Callable[[], Iterable[Discovery]]
"""A part of a read: converts rows of Odoo to discoveries, in the caller's thread."""

_Fields = Sequence[tuple[str, Sequence[Row]]]
"""Fields by model."""


@dataclass(slots=True, kw_only=True)
class OdooSnapshot:
    """A streamed read, as `fbs_worker.catalogue.model.Snapshot`."""

    domain: str
    types: frozenset[DiscoveryType]
    source: Mapping[str, str]
    mirrored: frozenset[str]
    _selector: Domain
    _normaliser: Normaliser
    _reader: Reader
    _progress: Progress
    _sections: Sections = field(default_factory=Sections)
    _fingerprint: Fingerprint = field(default_factory=Fingerprint)
    _facts: WorkflowFacts | None = None
    _views: Views | None = None
    _charts: Views | None = None
    _related: RelatedSelections = field(default_factory=RelatedSelections)
    _are_described: bool = False
    _done: bool = False

    @property
    def sections(self) -> Sequence[Section]:
        """Outcome of each section; complete after the iteration."""
        return self._sections.all()

    @property
    def fingerprint(self) -> Mapping[str, Any] | None:
        """Input of a later refresh; None before the end, and for a user who may not read modules or `ir.model`."""
        readable = {MODULES, "counts"} <= self._fingerprint.answers.keys()
        if not self._done or not readable:
            return None
        return {**self._fingerprint.to_dict(), MIRRORED: sorted(self.mirrored)}

    def __iter__(self) -> Iterator[Discovery]:
        with many_objects():
            for part in Prefetcher(self._parts(), depth=_PREFETCH, waiting=self._wait):
                yield from part()
        self._done = True

    def _wait(self) -> None:
        self._progress.advance(0, message=self._reader.transport.waits)

    # calls of Odoo, in the prefetching thread

    def _parts(self) -> Iterator[_Part]:
        """All calls of a read, in order; large tables come last and in pages."""
        sections = SectionReader(self._reader, self._sections, self._fingerprint)
        yield partial(self._step, "modules")
        graph = ModuleGraph.for_domain(sections.modules(), self._selector)
        if DiscoveryType.MODULE in self.types:
            yield partial(self._module_rows, graph, self._sections.incomplete(DiscoveryType.MODULE))
        if self.types == {DiscoveryType.MODULE}:
            return
        yield partial(self._step, "models")
        models = self._models(graph)
        if self.types & {DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE}:
            yield partial(self._step, "views")
            yield from self._context(sections, graph, models)
        if self.types & {DiscoveryType.MODEL, DiscoveryType.WORKFLOW} or self._charts is not None:
            yield partial(self._step, "fields", total=len(models))
            yield from in_flight(self._reader.transport, self._field_parts(graph, models), depth=2 * _PREFETCH)

    def _models(self, graph: ModuleGraph) -> dict[str, Row]:
        """The domain's models by name: defined or extended by an installed core module."""
        try:
            self._probe()
            rows = self._models_table(graph)
        except OdooAccessDenied:
            return self._readable_models()
        self._fingerprint.count(self._reader)
        manual = self._selector.modules.applications
        of_domain = {
            row["model"]: row
            for row in sorted(rows, key=lambda row: str(row["model"]))
            if not graph.modules
            or graph.core.intersection(split_names(row.get("modules")))
            or (manual and row.get("state") == "manual")
        }
        self._fingerprint.structure.add(of_domain.values())
        self._fingerprint.models = list(of_domain)
        if graph.modules:
            self._sections.complete("models", len(rows))
        else:
            detail = "of any module: this user may not read the modules"
            self._sections.partial("models", needs=SETTINGS, rows=len(rows), detail=detail)
        return of_domain

    def _models_table(self, graph: ModuleGraph) -> list[Row]:
        """The rows of `ir.model`; without their modules where those are denied (Odoo 14, 15), as for fields later."""
        try:
            return self._reader.table(MODELS)
        except OdooAccessDenied:
            if graph.modules:
                raise
            self._reader.left_out = frozenset({"modules"})
            return self._reader.table(MODELS)

    def _probe(self) -> None:
        """Read the columns of tables, and in the same call the fields that related selections lead through and to."""
        needed = bool(self.types & {DiscoveryType.MODEL, DiscoveryType.WORKFLOW})
        also = {"columns": RELATED_COLUMNS, "also": RELATED_DOMAIN} if needed else {}
        for page in self._reader.probe(_PROBED, **also):
            self._related.add(page if needed else ())

    def _readable_models(self) -> dict[str, Row]:
        """All models that a user without access rights may read; their modules are not readable."""
        self._are_described = True
        detail = "only the models that this user may read, of any module"
        try:
            try:
                available = self._reader.available_models()
            except OdooModelMissing:  # Odoo 15 and earlier do not have the method
                available = self._reader.reported_models()
                detail = "only the models of printed reports, of any module: this Odoo lists no others to this user"
        except OdooAccessDenied as exc:
            self._sections.denied("models", exc, needs=ACCESS_RIGHTS)
            return {}
        self._sections.partial("models", needs=ACCESS_RIGHTS, rows=len(available), detail=detail)
        return {row["model"]: {"model": row["model"], "name": row["display_name"]} for row in available}

    def _context(self, sections: SectionReader, graph: ModuleGraph, models: Mapping[str, Row]) -> Iterator[_Part]:
        """What workflows and BI features are derived from, besides the fields."""
        rows = sections.views()
        is_readable = "views" not in self._sections.incomplete(DiscoveryType.BI_FEATURE)
        dashboards = sections.dashboards() if DiscoveryType.BI_FEATURE in self.types else []
        forms_of = models if DiscoveryType.WORKFLOW in self.types else ()
        names, group_names = sections.names(rows, forms_of, dashboards)
        views = Views(rows, group_names)
        if DiscoveryType.WORKFLOW in self.types:
            automations, schedules = sections.automations(), sections.schedules()
            if not self._sections.incomplete(DiscoveryType.WORKFLOW):
                sections.watch_workflow()
            yield partial(self._keep_facts, views if is_readable else None, models, names, automations, schedules)
        if DiscoveryType.BI_FEATURE in self.types:
            self._charts = views if any(view.kind != "form" and view.model in models for view in rows) else None
            assigned = {row["id"] for row in dashboards if is_assigned_to(graph, row)}
            readable = views if is_readable else None
            yield partial(self._bi_rows, readable, models, sections.reports(), dashboards, assigned)

    def _field_parts(self, graph: ModuleGraph, models: Mapping[str, Row]) -> Iterator[_Part]:
        """What needs the fields: charts while Odoo reads the selection values, then models and workflows."""
        if self._are_described:
            for described, selections in self._fields_from_descriptions(models):
                yield partial(self._chart_rows, described)
                yield partial(self._model_rows, graph, models, described, selections)
            return
        self._fingerprint.read_fields = True
        self._sections.complete("fields", 0)
        if self._reader.left_out:
            detail = "without their modules, which this user may not read"
            self._sections.partial("fields", needs=SETTINGS, detail=detail)
        self._sections.complete("selections", 0)
        for page in self._reader.fields_by_model(list(models)):
            for model, fields in page:
                self._add_digits(model, fields)
            rows = [row for _, fields in page for row in fields]
            self._fingerprint.structure.add(rows)
            self._sections.add_rows("fields", len(rows))
            yield partial(self._chart_rows, page)
            yield partial(self._model_rows, graph, models, page, self._selections(page))

    def _add_digits(self, model: str, fields: Sequence[Row]) -> None:
        if model in self.mirrored and any(row["ttype"] == "float" for row in fields):
            try:
                digits = self._reader.digits(model)
            except (OdooAccessDenied, OdooModelMissing):
                return
            for row in fields:
                row["digits"] = digits.get(row["name"])

    def _selections(self, page: _Fields) -> dict[int, list[Row]]:
        """The selection values of the fields of one page, by the field's id; of a related field those of its source."""
        if not self.types & {DiscoveryType.MODEL, DiscoveryType.WORKFLOW}:
            return {}
        names = [name for name, fields in page if any(row["ttype"] in SELECTION_TYPES for row in fields)]
        sources = sources_of(self._related, (row for _, fields in page for row in fields))
        others = sorted({*sources.values()} - {row["id"] for _, fields in page for row in fields})
        criteria: list[Any] = [("field_id.model", "in", names)]
        criteria = ["|", *criteria, ("field_id", "in", others)] if others else criteria
        pages = self._reader.pages(SELECTIONS, criteria, TABLES[SELECTIONS].columns) if names else ()
        rows = [row for page in pages for row in page]
        self._fingerprint.structure.add(rows)
        self._sections.add_rows("selections", len(rows))
        selections: dict[int, list[Row]] = {}
        for row in rows:
            selections.setdefault(related_id(row["field_id"]) or 0, []).append(row)
        values = {number: selections[source] for number, source in sources.items() if source in selections}
        return selections | values

    def _fields_from_descriptions(self, models: Mapping[str, Row]) -> Iterator[tuple[_Fields, dict[int, list[Row]]]]:
        """Fields by `fields_get`, one call per model: the fallback for a user without access rights."""
        detail = "from fields_get: without index, deletion rule and modules"
        self._sections.partial("fields", needs=ACCESS_RIGHTS, detail=detail)
        for model in models:
            try:
                described = self._reader.described(model)
            except (OdooAccessDenied, OdooModelMissing):
                continue
            fields, selections = fields_of_description(model, described)
            self._sections.add_rows("fields", len(fields))
            yield [(model, fields)], selections

    # conversion to discoveries, in the caller's thread

    def _step(self, name: str, *, total: int | None = None) -> Iterable[Discovery]:
        self._progress.step(name, total=total)
        return ()

    def _module_rows(self, graph: ModuleGraph, incomplete: Sequence[str]) -> Iterable[Discovery]:
        return (
            self._normaliser.module(graph.modules[name], role, incomplete, why=graph.reasons.get(name, ""))
            for name, role in graph.roles.items()
        )

    def _keep_facts(
        self,
        views: Views | None,
        models: Iterable[str],
        action_names: Mapping[str, str],
        automations: Sequence[Row],
        schedules: Sequence[Row],
    ) -> Iterable[Discovery]:
        forms = None
        if views is not None:
            forms = {model: form for model in models if (form := default_form(views, model)) is not None}
            self._sections.skipped("views", views.skipped())
            self._views = views
        self._facts = WorkflowFacts(
            forms=forms,
            action_names=action_names,
            automations=grouped(automations, "model_name"),
            schedules=grouped(schedules, "model_name"),
        )
        return ()

    def _bi_rows(
        self,
        views: Views | None,
        models: Mapping[str, Row],
        reports: Sequence[Row],
        dashboards: Sequence[Row],
        assigned: Collection[int],
    ) -> Iterator[Discovery]:
        incomplete = lacking(views, None, self._sections.incomplete(DiscoveryType.BI_FEATURE))
        for row in reports:
            if row.get("model") in models:
                yield self._normaliser.report(row, incomplete)
        by_id = {row["id"]: name for name, row in models.items() if "id" in row}
        for row in dashboards:
            shown = row.get("main_data_model_ids") or ()
            of_domain = [by_id[number] for number in shown if number in by_id]
            if of_domain or row["id"] in assigned:
                yield self._normaliser.dashboard(row, of_domain, incomplete)

    def _chart_rows(self, page: _Fields) -> Iterator[Discovery]:
        if self._charts is not None:
            of_charts = self._sections.incomplete(DiscoveryType.BI_FEATURE)
            for model, fields in page:
                yield from self._normaliser.charts(self._charts, model, fields, of_charts)
            self._sections.skipped("views", self._charts.skipped())

    def _model_rows(
        self,
        graph: ModuleGraph,
        models: Mapping[str, Row],
        page: _Fields,
        selections: Mapping[int, Sequence[Row]],
    ) -> Iterator[Discovery]:
        incomplete = self._sections.incomplete(DiscoveryType.MODEL)
        for model, fields in page:
            row = models[model]
            if DiscoveryType.MODEL in self.types:
                yield self._normaliser.model(row, fields, selections, graph, incomplete)
            if self._facts is not None:
                definition = self._workflow_definition(self._facts, model, fields, selections)
                title = row.get("name") or ""
                form = next(iter(self._views.primaries(model, "form")), None) if self._views else None
                lacks = lacking(self._views, form, self._sections.incomplete(DiscoveryType.WORKFLOW))
                workflow = self._normaliser.workflow(model, title, definition, lacks)
                if workflow is not None:
                    yield workflow
            self._progress.advance(1, message=model)

    def _workflow_definition(
        self, facts: WorkflowFacts, model: str, fields: Sequence[Row], selections: Mapping[int, Sequence[Row]]
    ) -> dict[str, Any]:
        """The definition of a workflow; where the form exceeds a bound, the same without the form."""
        try:
            return workflow_definition(model, fields, selections, facts)
        except ArchError:
            if self._views is not None:
                view = self._views.primaries(model, "form")[0]
                self._views.damage(view, view)
                self._sections.skipped("views", self._views.skipped())
            forms = {name: form for name, form in (facts.forms or {}).items() if name != model}
            return workflow_definition(model, fields, selections, replace(facts, forms=forms))


def is_assigned_to(graph: ModuleGraph, dashboard: Row) -> bool:
    """Whether a dashboard belongs to a domain by its module or its group.

    Odoo has a module of dashboards per module that they show (`spreadsheet_dashboard_sale` depends on `sale`), and
    some groups named after modules (`spreadsheet_dashboard_group_hr`). One that neither module nor group nor model
    assigns could belong to any domain, so each has it.
    """
    module, _, _ = str(dashboard.get("xml_id") or "").partition(".")
    group_module, _, group = str(dashboard.get("group_xml_id") or "").partition(".")
    known = graph.modules.get(module)
    modules = {module, group_module, *(known.depends if known else ())}
    modules |= {module.removeprefix("spreadsheet_dashboard_"), group.removeprefix("spreadsheet_dashboard_group_")}
    assigned = (modules & graph.modules.keys()) - {"spreadsheet", "spreadsheet_dashboard"}
    if not graph.modules or not (assigned or dashboard.get("main_data_model_ids")):
        return True
    return not graph.core.isdisjoint(assigned)
