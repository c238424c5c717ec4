"""Catalogue pages: browse and search a solution's catalogue, and one page per discovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from fbs_worker.catalogue import queries, search
from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.references import MAX_REFERENCES, References
from fbs_worker.core.postgres import Connection
from fbs_worker.solutions.registry import SolutionRecord
from fbs_worker.web.api.errors import RouteNotFound
from fbs_worker.web.pages.layout import both, layout_of, page_router
from fbs_worker.web.pages.workflow import read_workflow
from fbs_worker.web.pages.workflow_svg import workflow_svg

router = page_router()

FIELD_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    "stored": lambda field: bool(field.get("stored")),
    "computed": lambda field: not field.get("stored"),
    "required": lambda field: bool(field.get("required")),
    "relational": lambda field: bool(field.get("relation")),
}
"""Kinds of fields that a model's page filters by."""

_PAGE_SIZE: Final = 100
_MAX_QUERY: Final = 200


@dataclass(frozen=True, kw_only=True)
class _Catalogue:
    """A solution's catalogue, on a connection borrowed for one request."""

    record: SolutionRecord
    connection: Connection

    @property
    def references(self) -> References:
        return References(self.connection, self.record.table_prefix, self.record.domain)

    def get(self, kind: DiscoveryType, name: str) -> dict[str, Any]:
        record = self.record
        discovery = queries.one(
            self.connection, record.table_prefix, domain=record.domain, discovery_type=kind, name=name
        )
        if discovery is None:
            label = kind.replace("_", " ")
            raise RouteNotFound(
                f"The catalogue of {record.solution_name} has no {label} of that name.",
                hint="Search for it; it may belong to another domain.",
            )
        return discovery


@contextmanager
def _catalogue(request: Request, name: str) -> Iterator[_Catalogue]:
    databases = request.app.state.databases
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        yield _Catalogue(record=record, connection=connection)


def catalogue_page(request: Request, name: str) -> Response:
    """Browse the catalogue by pages, or search it."""
    params = request.query_params
    text, kind, cursor = params.get("q", "")[:_MAX_QUERY].strip(), params.get("type", ""), params.get("cursor", "")
    with _catalogue(request, name) as catalogue:
        record = catalogue.record
        if text:
            kinds = (kind,) if kind in search.KINDS else search.KINDS
            hits = search.search(
                catalogue.connection,
                record.table_prefix,
                domain=record.domain,
                text=text,
                kinds=kinds,
                cursor=cursor,
                limit=_PAGE_SIZE,
            )
            rows, following = hits.rows, hits.next
        else:
            kind = kind if kind in list(DiscoveryType) else DiscoveryType.MODEL
            page = queries.page(
                catalogue.connection,
                record.table_prefix,
                domain=record.domain,
                discovery_type=DiscoveryType(kind),
                cursor=cursor,
                limit=_PAGE_SIZE,
                full=False,
            )
            rows, following = page.rows, page.next
    return layout_of(request).render(
        request,
        "catalogue",
        name=name,
        text=text,
        kind=kind if kind in search.KINDS else "",
        kinds=search.KINDS,
        cursor=cursor,
        following=following,
        rows=rows,
        mirrored=record.mirrored,
    )


def model_page(request: Request, name: str, item: str) -> Response:
    """Show a model: fields, relations to and from other models, BI features."""
    params = request.query_params
    query, module, kind = (params.get(name, "")[:_MAX_QUERY].strip() for name in ("field", "module", "kind"))
    with _catalogue(request, name) as catalogue:
        discovery = catalogue.get(DiscoveryType.MODEL, item)
        fields = fields_of(discovery)
        relations = {field["relation"] for field in fields.values() if field.get("relation")}
        references = catalogue.references
        known = references.known({*relations, item}, DiscoveryType.MODEL, DiscoveryType.WORKFLOW)
        referring, features = references.referring(item), references.features(item)
        mirrored = catalogue.record.mirrored.get(item, "")
    known_models = {other for kind, other in known if kind == DiscoveryType.MODEL}
    return layout_of(request).render(
        request,
        "model",
        name=name,
        discovery=discovery,
        fields=filter_fields(fields, query, module=module, kind=kind),
        count=len(fields),
        query=query,
        module=module,
        modules=sorted({module for field in fields.values() for module in field.get("modules") or ()}),
        kind=kind,
        kinds=FIELD_KINDS,
        relations=_relations(fields),
        known=known_models | {reference.model for reference in referring},
        has_workflow=(DiscoveryType.WORKFLOW, item) in known,
        mirrored=mirrored,
        tables=catalogue.record.mirrored if mirrored else {},
        referring=referring,
        limit=MAX_REFERENCES,
        features=features,
    )


def workflow_page(request: Request, name: str, item: str) -> Response:
    """Show a workflow as a state diagram and as a table."""
    with _catalogue(request, name) as catalogue:
        discovery = catalogue.get(DiscoveryType.WORKFLOW, item)
        known = catalogue.references.known([item], DiscoveryType.MODEL)
    definition = discovery["schema_definition"] or {}
    workflow = read_workflow(definition, model=item)
    # workflow_svg escapes all text
    svg = Markup(workflow_svg(workflow, title=f"States of {item} and the buttons between them"))  # noqa: S704
    return layout_of(request).render(
        request,
        "workflow",
        name=name,
        discovery=discovery,
        workflow=workflow,
        svg=svg,
        has_model=bool(known),
        automations=_dicts(definition.get("automations")),
        schedules=_dicts(definition.get("schedules")),
    )


def module_page(request: Request, name: str, item: str) -> Response:
    """Show a module, and the models that it defines or extends."""
    with _catalogue(request, name) as catalogue:
        discovery = catalogue.get(DiscoveryType.MODULE, item)
        depends = [str(other) for other in discovery["metadata"].get("depends") or ()]
        known = {other for _, other in catalogue.references.known(depends, DiscoveryType.MODULE)}
        models = catalogue.references.models_of(item)
    return layout_of(request).render(
        request, "module", name=name, discovery=discovery, depends=depends, known=known, models=models
    )


def feature_page(request: Request, name: str) -> Response:
    """Show a BI feature. Its name is a query parameter, for it may contain a slash."""
    with _catalogue(request, name) as catalogue:
        discovery = catalogue.get(DiscoveryType.BI_FEATURE, request.query_params.get("name", ""))
        definition = discovery["schema_definition"] or {}
        model_name = str(definition.get("model") or "")
        known = catalogue.references.known([model_name], DiscoveryType.MODEL) if model_name else frozenset()
    return layout_of(request).render(
        request,
        "feature",
        name=name,
        discovery=discovery,
        definition=definition,
        model=model_name,
        has_model=bool(known),
        measures=[str(one) for one in definition.get("measures") or ()],
        dimensions=_dicts(definition.get("dimensions")),
    )


def fields_of(discovery: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a model's fields by name.

    Args:
        discovery: the model's discovery.
    """
    fields = (discovery["schema_definition"] or {}).get("fields")
    items = fields.items() if isinstance(fields, dict) else ()
    return {name: field for name, field in sorted(items) if isinstance(field, dict)}


def filter_fields(
    fields: Mapping[str, Mapping[str, Any]], query: str, *, module: str = "", kind: str = ""
) -> dict[str, Mapping[str, Any]]:
    """Return the fields that contain every word of a query in their name, label, type or relation.

    Args:
        fields: fields by name.
        query: words, case-insensitive.
        module: only fields that this module defines or changes; empty for all.
        kind: only fields of this kind, a key of `FIELD_KINDS`; any other text for all.
    """
    words, is_kind = query.lower().split(), FIELD_KINDS.get(kind)
    fields = {
        name: field
        for name, field in fields.items()
        if (is_kind is None or is_kind(field)) and (not module or module in (field.get("modules") or ()))
    }
    texts = {
        name: " ".join([name, *(str(field.get(key) or "") for key in ("label", "type", "relation"))]).lower()
        for name, field in fields.items()
    }
    return {name: field for name, field in fields.items() if all(word in texts[name] for word in words)}


def _relations(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group the names of relational fields by target model."""
    by_model: dict[str, list[str]] = {}
    for name, field in fields.items():
        if field.get("relation"):
            by_model.setdefault(str(field["relation"]), []).append(name)
    return dict(sorted(by_model.items()))


def _dicts(value: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


for _path in both("/solutions/{name}/catalogue/"):
    router.add_api_route(_path, catalogue_page, methods=["GET"])
for _path in both("/solutions/{name}/models/{item:path}/"):
    router.add_api_route(_path, model_page, methods=["GET"])
for _path in both("/solutions/{name}/workflows/{item:path}/"):
    router.add_api_route(_path, workflow_page, methods=["GET"])
for _path in both("/solutions/{name}/modules/{item:path}/"):
    router.add_api_route(_path, module_page, methods=["GET"])
for _path in both("/solutions/{name}/features/"):
    router.add_api_route(_path, feature_page, methods=["GET"])
