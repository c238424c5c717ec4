"""The connector: read the discoveries of a domain from an Odoo server, as a stream.

The number of calls does not depend on the number of models: modules, columns, models, views, the actions of their
buttons, automations, schedules, reports, dashboards, row counts, fields and selection values are one call each, more
only where a table has more rows than a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, Snapshot
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.fingerprint import Fingerprint, unchanged
from fbs_worker.connectors.modules import ModuleGraph, split_names
from fbs_worker.connectors.normalise import Normaliser, WorkflowFacts, workflow_definition
from fbs_worker.connectors.prefetch import Prefetcher
from fbs_worker.connectors.reader import Reader, Row, related_id
from fbs_worker.connectors.sections import ACCESS_RIGHTS, SectionReader, Sections, fields_of_description
from fbs_worker.connectors.tables import (
    AUTOMATIONS,
    DASHBOARDS,
    DESCRIBED,
    FIELDS,
    MODELS,
    SELECTIONS,
    SERVER_ACTIONS,
    TABLES,
)
from fbs_worker.connectors.transitions import default_form
from fbs_worker.connectors.views import View, Views
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.domains import Domain

_PROBED: Final = (MODELS, FIELDS, SERVER_ACTIONS, AUTOMATIONS, DASHBOARDS)
_PREFETCH: Final = 2


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

    def unchanged(self, fingerprint: Mapping[str, Any]) -> bool:
        """Whether the server is unchanged since a snapshot: at most four cheap calls.

        Args:
            fingerprint: the fingerprint of the snapshot.

        Returns:
            False also where the comparison is not conclusive.

        Raises:
            UnreachableError: the server does not answer.
        """
        return unchanged(self._reader(), fingerprint)

    def read(
        self,
        domain: Domain,
        *,
        types: Collection[DiscoveryType] = tuple(DiscoveryType),
        progress: Progress | None = None,
    ) -> Snapshot:
        """Read a domain lazily: the calls are made while the snapshot is iterated.

        Args:
            domain: the business domain.
            types: the discovery types to read.
            progress: receives the sections as steps, and each model.

        Returns:
            The snapshot. Its iteration raises the errors of `Transport.call`, and JobCancelled from the progress.
        """
        return OdooSnapshot(
            domain=domain.name,
            types=frozenset(types),
            source=self.source,
            _selector=domain,
            _reader=self._reader(),
            _progress=progress or NullProgress(),
        )

    def _reader(self) -> Reader:
        return Reader(self._transport, page_size=self._page_size, lang=self._lang)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModulesRead:
    graph: ModuleGraph
    incomplete: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelsRead:
    models: Mapping[str, Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContextRead:
    views: Views
    action_names: Mapping[str, str]
    automations: Sequence[Row]
    schedules: Sequence[Row]
    reports: Sequence[Row]
    dashboards: Sequence[Row]
    incomplete: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _FieldsRead:
    fields: Sequence[tuple[str, Sequence[Row]]]
    selections: Mapping[int, Sequence[Row]]
    incomplete_models: tuple[str, ...]
    incomplete_workflows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    name: str
    total: int | None = None


_Part = _ModulesRead | _ModelsRead | _ContextRead | _FieldsRead | _Step


@dataclass(slots=True, kw_only=True)
class OdooSnapshot:
    """A streamed read, as `fbs_worker.catalogue.model.Snapshot`."""

    domain: str
    types: frozenset[DiscoveryType]
    source: Mapping[str, str]
    _selector: Domain
    _reader: Reader
    _progress: Progress
    _sections: Sections = field(default_factory=Sections)
    _fingerprint: Fingerprint = field(default_factory=Fingerprint)
    _done: bool = False

    @property
    def sections(self) -> Sequence[Section]:
        """Outcome of each section; complete after the iteration."""
        return self._sections.all()

    @property
    def fingerprint(self) -> Mapping[str, Any] | None:
        """Input of a later refresh; None before the end, and for a user without access to `ir.model`."""
        return self._fingerprint.to_dict() if self._done and "counts" in self._fingerprint.answers else None

    def __iter__(self) -> Iterator[Discovery]:
        parts = Prefetcher(self._parts(), depth=_PREFETCH, waiting=lambda: self._progress.advance(0))
        yield from self._discoveries(iter(parts))
        self._done = True

    # calls of Odoo, in the prefetching thread

    def _parts(self) -> Iterator[_Part]:
        """All calls of a read, in order; large tables come last and in pages."""
        sections = SectionReader(self._reader, self._sections, self._fingerprint)
        yield _Step(name="modules")
        graph = ModuleGraph.for_domain(sections.modules(), self._selector)
        yield _ModulesRead(graph=graph, incomplete=self._sections.incomplete(DiscoveryType.MODULE))
        if self.types == {DiscoveryType.MODULE}:
            return
        yield _Step(name="models")
        models = self._models(graph)
        yield _ModelsRead(models=models)
        if self.types & {DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE}:
            yield _Step(name="views")
            yield self._context(sections, models)
        if self.types & {DiscoveryType.MODEL, DiscoveryType.WORKFLOW}:
            yield _Step(name="fields", total=len(models))
            yield from self._fields(models)

    def _models(self, graph: ModuleGraph) -> dict[str, Row]:
        """The domain's models by name: defined or extended by an installed core module."""
        try:
            self._reader.probe(_PROBED)
            rows = self._reader.table(MODELS)
        except OdooAccessDenied:
            return self._readable_models()
        self._fingerprint.count(self._reader)
        manual = self._selector.modules.applications
        of_domain = {
            row["model"]: row
            for row in sorted(rows, key=lambda row: str(row["model"]))
            if graph.core.intersection(split_names(row.get("modules"))) or (manual and row.get("state") == "manual")
        }
        self._fingerprint.structure.add(of_domain.values())
        self._fingerprint.models = list(of_domain)
        self._sections.complete("models", len(rows))
        return of_domain

    def _readable_models(self) -> dict[str, Row]:
        """All models that a user without access rights may read; their modules are not readable."""
        try:
            available = self._reader.available_models()
        except OdooModelMissing as exc:  # Odoo 15 and earlier do not have the method
            self._sections.denied("models", OdooAccessDenied(exc.message), needs=ACCESS_RIGHTS)
            return {}
        self._sections.partial(
            "models",
            needs=ACCESS_RIGHTS,
            rows=len(available),
            detail="only the models that this user may read, of any module",
        )
        return {row["model"]: {"model": row["model"], "name": row["display_name"]} for row in available}

    def _context(self, sections: SectionReader, models: Mapping[str, Row]) -> _ContextRead:
        views = Views()
        automations: list[Row] = []
        schedules: list[Row] = []
        reports: list[Row] = []
        dashboards: list[Row] = []
        rows = sections.views()
        views.add(rows)
        names: dict[str, str] = {}
        if DiscoveryType.WORKFLOW in self.types:
            names = sections.action_names(_forms(rows, models))
            automations, schedules = sections.automations(), sections.schedules()
            if not self._sections.incomplete(DiscoveryType.WORKFLOW):
                self._fingerprint.columns = self._reader.columns(SERVER_ACTIONS)
        if DiscoveryType.BI_FEATURE in self.types:
            reports, dashboards = sections.reports(), sections.dashboards()
        return _ContextRead(
            views=views,
            action_names=names,
            automations=automations,
            schedules=schedules,
            reports=reports,
            dashboards=dashboards,
            incomplete=self._sections.incomplete(DiscoveryType.BI_FEATURE),
        )

    def _fields(self, models: Mapping[str, Row]) -> Iterator[_FieldsRead]:
        if self._sections.incomplete(DiscoveryType.MODEL):
            yield from self._fields_from_descriptions(models)
            return
        self._fingerprint.read_fields = True
        self._sections.complete("fields", 0)
        self._sections.complete("selections", 0)
        for page in self._reader.fields_by_model(list(models)):
            rows = [row for _, fields in page for row in fields]
            self._fingerprint.structure.add(rows)
            self._sections.add_rows("fields", len(rows))
            yield self._fields_part(page, self._selections(page))

    def _selections(self, page: Sequence[tuple[str, Sequence[Row]]]) -> dict[int, list[Row]]:
        """The selection values of the fields of one page, by the field's id."""
        names = [name for name, fields in page if any(row["ttype"] in {"selection", "reference"} for row in fields)]
        selections: dict[int, list[Row]] = {}
        if not names:
            return selections
        columns = TABLES[SELECTIONS].columns
        for rows in self._reader.pages(SELECTIONS, [("field_id.model", "in", names)], columns):
            self._fingerprint.structure.add(rows)
            self._sections.add_rows("selections", len(rows))
            for row in rows:
                selections.setdefault(related_id(row["field_id"]) or 0, []).append(row)
        return selections

    def _fields_from_descriptions(self, models: Mapping[str, Row]) -> Iterator[_FieldsRead]:
        """Fields by `fields_get`, one call per model: the fallback for a user without access rights."""
        detail = "from fields_get: without index, deletion rule and modules"
        self._sections.partial("fields", needs=ACCESS_RIGHTS, detail=detail)
        for model in models:
            try:
                described = self._reader.described(model, DESCRIBED)
            except OdooAccessDenied:
                continue
            fields, selections = fields_of_description(model, described)
            self._sections.add_rows("fields", len(fields))
            yield self._fields_part([(model, fields)], selections)

    def _fields_part(
        self, page: Sequence[tuple[str, Sequence[Row]]], selections: Mapping[int, Sequence[Row]]
    ) -> _FieldsRead:
        return _FieldsRead(
            fields=page,
            selections=selections,
            incomplete_models=self._sections.incomplete(DiscoveryType.MODEL),
            incomplete_workflows=self._sections.incomplete(DiscoveryType.WORKFLOW),
        )

    # conversion to discoveries, in the caller's thread

    def _discoveries(self, parts: Iterator[_Part]) -> Iterator[Discovery]:
        normaliser = Normaliser(domain=self.domain, source=self.source)
        graph: ModuleGraph | None = None
        models: Mapping[str, Row] = {}
        facts: WorkflowFacts | None = None
        for part in parts:
            match part:
                case _Step():
                    self._progress.step(part.name, total=part.total)
                case _ModulesRead():
                    graph = part.graph
                    if DiscoveryType.MODULE in self.types:
                        yield from self._module_rows(normaliser, part)
                case _ModelsRead():
                    models = part.models
                case _ContextRead():
                    facts = self._workflow_facts(part, models)
                    if DiscoveryType.BI_FEATURE in self.types:
                        yield from self._bi_rows(normaliser, part, models)
                case _FieldsRead() if graph is not None:
                    yield from self._model_rows(normaliser, part, graph, models, facts)

    @staticmethod
    def _module_rows(normaliser: Normaliser, part: _ModulesRead) -> Iterator[Discovery]:
        for name, role in part.graph.roles.items():
            yield normaliser.module(part.graph.modules[name], role, part.incomplete)

    def _workflow_facts(self, part: _ContextRead, models: Mapping[str, Row]) -> WorkflowFacts | None:
        if DiscoveryType.WORKFLOW not in self.types:
            return None
        forms = None
        if "views" not in self._sections.incomplete(DiscoveryType.WORKFLOW):
            forms = {model: form for model in models if (form := default_form(part.views, model)) is not None}
        return WorkflowFacts(
            forms=forms,
            action_names=part.action_names,
            automations=_by_model(part.automations),
            schedules=_by_model(part.schedules),
        )

    @staticmethod
    def _bi_rows(normaliser: Normaliser, part: _ContextRead, models: Mapping[str, Row]) -> Iterator[Discovery]:
        yield from normaliser.charts(part.views, models, part.incomplete)
        for row in part.reports:
            if row.get("model") in models:
                yield normaliser.report(row, part.incomplete)
        by_id = {row["id"]: name for name, row in models.items() if "id" in row}
        for row in part.dashboards:
            shown = row.get("main_data_model_ids") or ()
            of_domain = [by_id[number] for number in shown if number in by_id]
            # a dashboard without models could belong to any domain, so each domain has it
            if of_domain or not shown:
                yield normaliser.dashboard(row, of_domain, part.incomplete)

    def _model_rows(
        self,
        normaliser: Normaliser,
        part: _FieldsRead,
        graph: ModuleGraph,
        models: Mapping[str, Row],
        facts: WorkflowFacts | None,
    ) -> Iterator[Discovery]:
        for model, fields in part.fields:
            row = models[model]
            if DiscoveryType.MODEL in self.types:
                yield normaliser.model(row, fields, part.selections, graph, part.incomplete_models)
            if facts is not None:
                definition = workflow_definition(model, fields, part.selections, facts)
                workflow = normaliser.workflow(model, row.get("name") or "", definition, part.incomplete_workflows)
                if workflow is not None:
                    yield workflow
            self._progress.advance(1, message=model)


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.get("model_name") or "", []).append(row)
    return grouped


def _forms(views: Sequence[View], models: Mapping[str, Row]) -> list[View]:
    return [view for view in views if view.kind == "form" and view.model in models]
