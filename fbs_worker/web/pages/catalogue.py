"""A solution's catalogue: looked through and searched, and one page for each thing in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

_ROWS: Final = 100
_LONGEST: Final = 200


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A solution's catalogue, for one request."""

    record: SolutionRecord
    connection: Connection

    @property
    def links(self) -> References:
        return References(self.connection, self.record.table_prefix, self.record.domain)

    def one(self, kind: DiscoveryType, name: str) -> dict[str, Any]:
        """A discovery; the error says so where there is none."""
        record = self.record
        found = queries.one(self.connection, record.table_prefix, domain=record.domain, discovery_type=kind, name=name)
        if found is None:
            what = kind.replace("_", " ")
            raise RouteNotFound(
                f"The catalogue of {record.solution_name} has no {what} of that name.",
                hint="Search for it; it may be that of another domain.",
            )
        return found


@contextmanager
def _catalogue(request: Request, name: str) -> Iterator[_Place]:
    databases = request.app.state.databases
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        yield _Place(record=record, connection=connection)


def catalogue(request: Request, name: str) -> Response:
    """The catalogue by pages, or what a search finds in it."""
    given = request.query_params
    text, kind, cursor = given.get("q", "")[:_LONGEST].strip(), given.get("type", ""), given.get("cursor", "")
    with _catalogue(request, name) as place:
        record = place.record
        if text:
            kinds = (kind,) if kind in search.KINDS else search.KINDS
            hits = search.search(
                place.connection,
                record.table_prefix,
                domain=record.domain,
                text=text,
                kinds=kinds,
                cursor=cursor,
                limit=_ROWS,
            )
            rows, following = hits.rows, hits.next
        else:
            kind = kind if kind in list(DiscoveryType) else DiscoveryType.MODEL
            page = queries.page(
                place.connection,
                record.table_prefix,
                domain=record.domain,
                discovery_type=DiscoveryType(kind),
                cursor=cursor,
                limit=_ROWS,
                full=False,
            )
            rows, following = page.rows, page.next
    return layout_of(request).page(
        request,
        "catalogue",
        name=name,
        domain=record.domain,
        text=text,
        kind=kind if kind in search.KINDS else "",
        kinds=search.KINDS,
        cursor=cursor,
        following=following,
        rows=rows,
    )


def model(request: Request, name: str, item: str) -> Response:
    """A model: its fields, what it refers to and what refers to it."""
    wanted = request.query_params.get("field", "")[:_LONGEST].strip()
    with _catalogue(request, name) as place:
        found = place.one(DiscoveryType.MODEL, item)
        fields = fields_of(found)
        relations = {told["relation"] for told in fields.values() if told.get("relation")}
        links = place.links
        known = links.known({*relations, item}, DiscoveryType.MODEL, DiscoveryType.WORKFLOW)
        referring, features = links.referring(item), links.features(item)
    known_models = {other for kind, other in known if kind == DiscoveryType.MODEL}
    return layout_of(request).page(
        request,
        "model",
        name=name,
        found=found,
        fields=matching(fields, wanted),
        count=len(fields),
        wanted=wanted,
        relations=_relations(fields),
        known=known_models | {reference.model for reference in referring},
        has_workflow=(DiscoveryType.WORKFLOW, item) in known,
        referring=referring,
        most=MAX_REFERENCES,
        features=features,
    )


def workflow(request: Request, name: str, item: str) -> Response:
    """A workflow as a state diagram, and in words."""
    with _catalogue(request, name) as place:
        found = place.one(DiscoveryType.WORKFLOW, item)
        known = place.links.known([item], DiscoveryType.MODEL)
    definition = found["schema_definition"] or {}
    read = read_workflow(definition, model=item)
    # what it shows is escaped by whoever drew it
    drawn = Markup(workflow_svg(read, title=f"States of {item} and the buttons between them"))  # noqa: S704
    return layout_of(request).page(
        request,
        "workflow",
        name=name,
        found=found,
        workflow=read,
        drawn=drawn,
        has_model=bool(known),
        automations=_dicts(definition.get("automations")),
        schedules=_dicts(definition.get("schedules")),
    )


def module(request: Request, name: str, item: str) -> Response:
    """A module, and the models that it defines or extends."""
    with _catalogue(request, name) as place:
        found = place.one(DiscoveryType.MODULE, item)
        depends = [str(other) for other in found["metadata"].get("depends") or ()]
        known = {other for _, other in place.links.known(depends, DiscoveryType.MODULE)}
        models = place.links.models_of(item)
    return layout_of(request).page(
        request, "module", name=name, found=found, depends=depends, known=known, models=models
    )


def feature(request: Request, name: str) -> Response:
    """A BI feature. Its name is a parameter: it may have a slash in it."""
    with _catalogue(request, name) as place:
        found = place.one(DiscoveryType.BI_FEATURE, request.query_params.get("name", ""))
        definition = found["schema_definition"] or {}
        shown = str(definition.get("model") or "")
        known = place.links.known([shown], DiscoveryType.MODEL) if shown else frozenset()
    return layout_of(request).page(
        request,
        "feature",
        name=name,
        found=found,
        definition=definition,
        model=shown,
        has_model=bool(known),
        measures=[str(one) for one in definition.get("measures") or ()],
        dimensions=_dicts(definition.get("dimensions")),
    )


def fields_of(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a model by name."""
    fields = (found["schema_definition"] or {}).get("fields")
    items = fields.items() if isinstance(fields, dict) else ()
    return {name: told for name, told in sorted(items) if isinstance(told, dict)}


def matching(fields: Mapping[str, Mapping[str, Any]], wanted: str) -> dict[str, Mapping[str, Any]]:
    """The fields that have every word in name, label, type or relation.

    Args:
        fields: by name.
        wanted: words.
    """
    words = wanted.lower().split()
    texts = {
        name: " ".join([name, *(str(told.get(key) or "") for key in ("label", "type", "relation"))]).lower()
        for name, told in fields.items()
    }
    return {name: told for name, told in fields.items() if all(word in texts[name] for word in words)}


def _relations(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The models that fields refer to, with those fields."""
    found: dict[str, list[str]] = {}
    for name, told in fields.items():
        if told.get("relation"):
            found.setdefault(str(told["relation"]), []).append(name)
    return dict(sorted(found.items()))


def _dicts(told: object) -> Sequence[Mapping[str, Any]]:
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


for _path in both("/solutions/{name}/catalogue/"):
    router.add_api_route(_path, catalogue, methods=["GET"])
for _path in both("/solutions/{name}/models/{item:path}/"):
    router.add_api_route(_path, model, methods=["GET"])
for _path in both("/solutions/{name}/workflows/{item:path}/"):
    router.add_api_route(_path, workflow, methods=["GET"])
for _path in both("/solutions/{name}/modules/{item:path}/"):
    router.add_api_route(_path, module, methods=["GET"])
for _path in both("/solutions/{name}/features/"):
    router.add_api_route(_path, feature, methods=["GET"])
