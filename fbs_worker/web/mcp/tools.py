"""The tools: what MCP clients can ask, and what comes back. All of them read only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from fbs_worker.catalogue import queries
from fbs_worker.catalogue.model import DiscoveryType, SectionStatus
from fbs_worker.catalogue.pagination import MAX_ID, bad_cursor, decode_cursor, encode_cursor
from fbs_worker.catalogue.search import KINDS, Kind, search, words_of
from fbs_worker.core.errors import UsageError
from fbs_worker.core.identifiers import SolutionName
from fbs_worker.jobs.model import JobState
from fbs_worker.jobs.store import JobReader
from fbs_worker.ops.records import record_states
from fbs_worker.ops.status import list_solutions
from fbs_worker.solutions.config import SOLUTION
from fbs_worker.solutions.databases import Databases
from fbs_worker.web.api.request_models import JOB_ID, RequestModel
from fbs_worker.web.api.response_models import Hit, JobBody, RecordsState, SolutionSummary
from fbs_worker.web.mcp.bounds import MAX_BYTES, ROWS_BYTES, page_that_fits, rows_that_fit, shortened

_CURSOR: Final = "`next` of the previous answer, with the other arguments unchanged; empty for the first page"
_HEAD_BYTES: Final = (MAX_BYTES - ROWS_BYTES) // 4
_REFRESHES: Final = 20
_MAX_JOBS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the answers come from.

    Attributes:
        databases: the solutions and their databases.
        jobs: the read side of the job store.
    """

    databases: Databases
    jobs: JobReader


class Arguments(RequestModel):
    """Base of the arguments. A subclass's docstring describes the tool."""


class Paged(Arguments):
    """Base of the arguments of answers in pages."""

    cursor: str = Field(default="", max_length=1_000, description=_CURSOR)
    limit: int = Field(default=50, ge=1, le=200, description="maximum number of rows; a page may have fewer")


class OfSolution(Paged):
    """Base of the arguments of a solution."""

    solution: SolutionName = Field(description=f"{SOLUTION}, of list_solutions")


class Answer(BaseModel):
    """Base of the answers in pages."""

    next: str | None = Field(description="`cursor` of the next page; null on the last page")
    shortened: list[str] = Field(description="what was cut to keep the answer small: texts, lists and objects in it")


class ListSolutions(Paged):
    """List the solutions: each is one business domain of an Odoo, whose catalogue is in one database.

    With their status, active discoveries per type and the times of their last refreshes (ISO 8601).
    """


class SolutionsPage(Answer):
    """Solutions, by name."""

    solutions: list[SolutionSummary] = Field(description="the solutions")
    notes: list[str] = Field(description="what could not be inspected")


def read_solutions(source: Source, asked: ListSolutions) -> dict[str, Any]:
    """The answer of `list_solutions`."""
    found = list_solutions(source.databases.settings, databases=source.databases, jobs=source.jobs)
    after = _position(asked.cursor, str, default="")
    rows = sorted((row for row in found["solutions"] if row["solution"] > after), key=lambda row: str(row["solution"]))
    taken, cut = rows_that_fit(((row["solution"], row) for row in rows), asked.limit)
    following = encode_cursor(taken[-1]["solution"]) if len(taken) < len(rows) else None
    return {"solutions": taken, "notes": found["notes"], "next": following, "shortened": cut}


class Search(OfSolution):
    """Search a solution's catalogue by words: modules, models, their fields, workflows and BI features.

    Exact matches of a name come first, then other discoveries, then fields by model and name.
    """

    text: str = Field(
        min_length=1, max_length=200, description="words, each a prefix of a word of the hit", examples=["sale ord"]
    )
    kinds: list[Kind] = Field(default=[], max_length=10, description="only of these kinds; empty: of all")


class HitsPage(Answer):
    """Search hits."""

    hits: list[Hit] = Field(description="the hits")


def read_hits(source: Source, asked: Search) -> dict[str, Any]:
    """The answer of `search`."""
    record = source.databases.solution(asked.solution)
    with source.databases.connection(record.database) as connection:
        hits, following, cut = page_that_fits(
            lambda limit: search(
                connection,
                record.table_prefix,
                domain=record.domain,
                text=asked.text,
                kinds=asked.kinds or KINDS,
                cursor=asked.cursor,
                limit=limit,
            ),
            asked.limit,
            lambda hit: (f"{hit['model']}.{hit['field']}" if "field" in hit else hit["name"], hit),
        )
    return {"hits": hits, "next": following, "shortened": cut}


class ListDiscoveries(OfSolution):
    """List what Odoo has of one type: modules, models, workflows or BI features, without their structure."""

    type: DiscoveryType = Field(description="the discovery type")
    text: str = Field(default="", max_length=200, description="only with these words, each a prefix of a word")


class DiscoverySummary(BaseModel):
    """A discovery in short."""

    name: str = Field(description="technical name", examples=["sale.order"])
    title: str | None = Field(description="display name in Odoo", examples=["Sales Order"])
    version: str = Field(description="a module's version in Odoo, else counted from 1.0")


class DiscoveriesPage(Answer):
    """Discoveries, in the order in which they were first recorded."""

    discoveries: list[DiscoverySummary] = Field(description="the discoveries")


def read_discoveries(source: Source, asked: ListDiscoveries) -> dict[str, Any]:
    """The answer of `list_discoveries`."""
    record = source.databases.solution(asked.solution)
    with source.databases.connection(record.database) as connection:
        rows, following, cut = page_that_fits(
            lambda limit: queries.page(
                connection,
                record.table_prefix,
                domain=record.domain,
                discovery_type=asked.type,
                text=asked.text,
                cursor=asked.cursor,
                limit=limit,
                full=False,
            ),
            asked.limit,
            lambda row: (row["name"], {name: row[name] for name in DiscoverySummary.model_fields}),
        )
    return {"discoveries": rows, "next": following, "shortened": cut}


class DescribeModel(OfSolution):
    """Describe a model of Odoo: the modules that define and extend it, and its fields, by name, in pages."""

    name: str = Field(max_length=100, description="the model's technical name", examples=["sale.order"])
    text: str = Field(default="", max_length=200, description="only fields with all these words in name or label")
    type: str = Field(default="", max_length=50, description="only fields of this type in Odoo", examples=["many2one"])


class DescribeWorkflow(OfSolution):
    """Describe a workflow of Odoo: states, transitions (buttons, their states and groups), automations, schedules."""

    name: str = Field(max_length=100, description="the workflow's name: its model's", examples=["sale.order"])


class DescribeBiFeature(OfSolution):
    """Describe a BI feature of Odoo: a graph, pivot, report or dashboard with measures and dimensions."""

    name: str = Field(max_length=100, description="the feature's technical name, of list_discoveries or search")


class Version(BaseModel):
    """A version of a discovery."""

    version: str = Field(description="the version")
    is_active: bool = Field(description="whether this is the version in Odoo")
    discovered_at: str | None = Field(description="when Odoo was read (ISO 8601, UTC)")


class Description(Answer):
    """A discovery; what is in lists and fields comes in pages."""

    solution: str = Field(description="the catalogue's solution")
    type: DiscoveryType = Field(description="the discovery type")
    name: str = Field(description="technical name")
    title: str | None = Field(description="display name in Odoo")
    version: str = Field(description="the described version")
    is_active: bool = Field(description="false: Odoo no longer has it")
    metadata: dict[str, Any] | None = Field(
        default=None, description="properties by type, and the Odoo that was read; on the first page only"
    )
    versions: list[Version] | None = Field(
        default=None, description="its last versions, the newest first; on the first page only"
    )
    definition: dict[str, Any] = Field(
        description="structure by type: `fields` of a model by name, `states` and `transitions` of a workflow, …"
    )
    total: int = Field(description="fields and entries of lists in all pages together")


def read_model(source: Source, asked: DescribeModel) -> dict[str, Any]:
    """The answer of `describe_model`."""
    words = words_of(asked.text)

    def is_asked(name: str, field: Mapping[str, Any]) -> bool:
        named = f"{name} {field.get('label', '')}".lower()
        return asked.type in {"", field.get("type")} and all(word in named for word in words)

    return describe(
        source, asked.solution, DiscoveryType.MODEL, asked.name, cursor=asked.cursor, limit=asked.limit, field=is_asked
    )


def read_workflow(source: Source, asked: DescribeWorkflow) -> dict[str, Any]:
    """The answer of `describe_workflow`."""
    return describe(source, asked.solution, DiscoveryType.WORKFLOW, asked.name, cursor=asked.cursor, limit=asked.limit)


def read_bi_feature(source: Source, asked: DescribeBiFeature) -> dict[str, Any]:
    """The answer of `describe_bi_feature`."""
    return describe(
        source, asked.solution, DiscoveryType.BI_FEATURE, asked.name, cursor=asked.cursor, limit=asked.limit
    )


def describe(
    source: Source,
    solution: str,
    discovery_type: DiscoveryType,
    name: str,
    *,
    cursor: str = "",
    limit: int = 50,
    field: Callable[[str, Mapping[str, Any]], bool] = lambda _name, _field: True,
) -> dict[str, Any]:
    """A page of a discovery: its properties, and the entries of its structure from the cursor on.

    Args:
        source: where it is.
        solution: the solution's name.
        discovery_type: its type.
        name: its name.
        cursor: of the previous page.
        limit: maximum number of entries.
        field: which fields of a model are asked for.

    Returns:
        The values of a `Description`.

    Raises:
        UsageError: the catalogue has no such discovery, or the cursor is not of it.
        FBSError: the database cannot be read.
    """
    record = source.databases.solution(solution)
    with source.databases.connection(record.database) as connection:
        row = queries.one(
            connection, record.table_prefix, domain=record.domain, discovery_type=discovery_type, name=name
        )
    if row is None:
        raise UsageError(
            f"The catalogue of {solution!r} has no {discovery_type.replace('_', ' ')} of that name.",
            hint="Names are technical, such as sale.order; search and list_discoveries have them.",
        )
    number, start = _pair(cursor, default=(row["id"], 0))
    if number != row["id"]:  # it has another version meanwhile
        raise bad_cursor()
    facts, entries = _parts(row["schema_definition"] or {}, field)
    taken, cut = rows_that_fit(((label, value) for _, label, value in entries[start:]), limit)
    definition, cut = _with_shortened(facts, "definition", cut)
    for (part, label, _), value in zip(entries[start:], taken, strict=False):
        if part == "fields":
            definition.setdefault(part, {})[label.removeprefix("fields.")] = value
        else:
            definition.setdefault(part, []).append(value)
    title, cut = _with_shortened(row["title"], "title", cut)
    end = start + len(taken)
    answer = {
        "solution": solution,
        "type": discovery_type,
        **{key: row[key] for key in ("name", "version", "is_active")},
        "title": title,
        "definition": definition,
        "total": len(entries),
        "next": encode_cursor([row["id"], end]) if end < len(entries) else None,
    }
    if not start:
        answer["metadata"], cut = _with_shortened(row["metadata"] or {}, "metadata", cut)
        answer["versions"] = [{key: one[key] for key in Version.model_fields} for one in row["versions"][:10]]
    return {**answer, "shortened": cut}


def _parts(
    definition: Mapping[str, Any], field: Callable[[str, Mapping[str, Any]], bool]
) -> tuple[dict[str, Any], list[tuple[str, str, Any]]]:
    """A definition's single values, and its entries: the part, a label, the entry."""
    entries: list[tuple[str, str, Any]] = []
    for part, values in definition.items():
        if part == "fields" and isinstance(values, dict):
            entries += [(part, f"fields.{name}", value) for name, value in sorted(values.items()) if field(name, value)]
        elif isinstance(values, list):
            entries += [(part, f"{part}.{place}", value) for place, value in enumerate(values)]
    paged = {part for part, _, _ in entries} | {"fields"}
    return {part: value for part, value in definition.items() if part not in paged}, entries


class WhatChanged(OfSolution):
    """List what a refresh of the catalogue found: discoveries of Odoo that were added, removed or changed.

    The newest refresh that found something, unless `refresh` names an earlier one. The first refresh added everything.
    """

    refresh: int | None = Field(
        default=None, ge=1, le=MAX_ID, description="the refresh's `id`, of `refreshes` in the answer; null: the newest"
    )


class RefreshSummary(BaseModel):
    """A refresh that found something."""

    id: int = Field(description="the refresh's id")
    taken_at: str = Field(description="when Odoo was read (ISO 8601, UTC)")
    added: int = Field(description="number of discoveries added")
    removed: int = Field(description="number of discoveries removed")
    changed: int = Field(description="number of discoveries changed")


class ChangeRow(BaseModel):
    """A change."""

    change: Literal["added", "removed", "changed"] = Field(description="what happened to it")
    type: DiscoveryType = Field(description="the discovery type")
    name: str = Field(description="technical name")
    version: str = Field(description="its version after the refresh")
    previous_version: str | None = Field(description="its version before")
    fields: list[str] = Field(description="dotted paths of the differences", examples=[["fields.amount_total.type"]])
    breaking: bool = Field(description="something was removed, retyped or newly required")


class ChangesPage(Answer):
    """What a refresh found."""

    refresh: RefreshSummary | None = Field(description="the refresh; null if none found anything yet")
    incomplete: list[dict[str, Any]] = Field(
        description="parts of Odoo that it could not read completely, and the Odoo group that is missing"
    )
    changes: list[ChangeRow] = Field(description="the changes")
    refreshes: list[RefreshSummary] | None = Field(
        default=None, description=f"the last {_REFRESHES} that found something, the newest first; on the first page"
    )


def read_changes(source: Source, asked: WhatChanged) -> dict[str, Any]:
    """The answer of `what_changed`."""
    record = source.databases.solution(asked.solution)
    number, start = _pair(asked.cursor, default=(asked.refresh or 0, 0))
    with source.databases.connection(record.database) as connection:
        prefix = record.table_prefix
        last = queries.snapshots(connection, prefix, record.domain, 1 if start else _REFRESHES)
        found = queries.snapshot(connection, prefix, number) if number else next(iter(last), None)
    if number and (found is None or found["domain"] != record.domain):
        raise UsageError("The solution has no refresh of that id.", hint="Use an `id` of `refreshes` in the answer.")
    answer: dict[str, Any] = {"refresh": None, "incomplete": [], "changes": [], "next": None, "shortened": []}
    if found is not None:
        rows = [
            {"change": kind, **change}
            for kind in ("added", "removed", "changed")
            for change in found["changes"].get(kind, ())
        ]
        taken, cut = rows_that_fit(((row["name"], row) for row in rows[start:]), asked.limit)
        end = start + len(taken)
        incomplete = [one for one in found["sections"] or () if one.get("status") != SectionStatus.COMPLETE]
        answer |= {"refresh": _refresh(found), "changes": taken}
        answer["incomplete"], cut = _with_shortened(incomplete, "incomplete", cut)
        answer |= {"next": encode_cursor([found["id"], end]) if end < len(rows) else None, "shortened": cut}
    return answer if start else answer | {"refreshes": [_refresh(one) for one in last]}


def _refresh(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    counts = {kind: len(snapshot["changes"].get(kind, ())) for kind in ("added", "removed", "changed")}
    return {"id": snapshot["id"], "taken_at": snapshot["taken_at"], **counts}


class ListRecords(OfSolution):
    """List the tables that hold copies of Odoo's records, one per mirrored model: status, rows, lag. No records.

    `needs review`: a person has to allow deletions, or to give a right back in Odoo; the reason says which.
    """


class RecordsPage(Answer):
    """The tables of mirrored models, by model."""

    tables: list[RecordsState] = Field(description="the tables; `pending`: never copied")


def read_records(source: Source, asked: ListRecords) -> dict[str, Any]:
    """The answer of `list_records`."""
    record = source.databases.solution(asked.solution)
    after = _position(asked.cursor, str, default="")
    with source.databases.connection(record.database) as connection:
        rows = [row for row in record_states(connection, record) if row["model"] > after]
    taken, cut = rows_that_fit(((row["model"], row) for row in rows), asked.limit)
    following = encode_cursor(taken[-1]["model"]) if len(taken) < len(rows) else None
    return {"tables": taken, "next": following, "shortened": cut}


class ListJobs(Paged):
    """List jobs (set-up, refresh, migration …), the newest first, without their results. Finished ones expire."""

    solution: str = Field(default="", max_length=100, description="only jobs of this solution; empty: of all")
    state: JobState | None = Field(default=None, description="only jobs in this state; null: in any")


class JobsPage(Answer):
    """Jobs."""

    jobs: list[JobBody] = Field(description="the jobs, without results and details of errors")


def read_jobs(source: Source, asked: ListJobs) -> dict[str, Any]:
    """The answer of `list_jobs`."""
    after = _position(asked.cursor, str, default="")
    records = source.jobs.list(_MAX_JOBS if after else asked.limit + 1, asked.state, solution=asked.solution)
    ids = [record.id for record in records]
    if after and after not in ids:
        raise bad_cursor()
    rest = records[ids.index(after) + 1 :] if after else records
    taken, cut = rows_that_fit(((record.id, _brief(record.to_dict())) for record in rest), asked.limit)
    following = encode_cursor(taken[-1]["id"]) if len(taken) < len(rest) else None
    return {"jobs": taken, "next": following, "shortened": cut}


def _brief(job: Mapping[str, Any]) -> dict[str, Any]:
    error = {name: value for name, value in (job["error"] or {}).items() if name != "context"}
    return {**job, "result": None, "error": error or None}


class JobStatus(Arguments):
    """Return a job's state and progress, and its result or error once it has finished."""

    job_id: str = Field(
        pattern=JOB_ID, max_length=200, description="the job's id, of list_jobs, or its first 8 characters"
    )


class JobAnswer(BaseModel):
    """A job."""

    job: JobBody = Field(description="the job")
    shortened: list[str] = Field(description="what was cut to keep the answer small: `result`, `error`, `message`")


def read_job(source: Source, asked: JobStatus) -> dict[str, Any]:
    """The answer of `job_status`."""
    job = source.jobs.get(source.jobs.full_id(asked.job_id)).to_dict()
    cut: list[str] = []
    for part, limit in (("result", ROWS_BYTES), ("error", _HEAD_BYTES), ("message", _HEAD_BYTES)):
        job[part], cut = _with_shortened(job[part], part, cut, limit)
    return {"job": job, "shortened": cut}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool.

    Attributes:
        title: for people.
        arguments: what it takes; the docstring says what it does.
        answer: what comes back.
        read: makes the answer.
    """

    title: str
    arguments: type[Arguments]
    answer: type[BaseModel]
    read: Callable[[Source, Any], dict[str, Any]]

    @property
    def description(self) -> str:
        """What it does."""
        return inspect.cleandoc(self.arguments.__doc__ or "")


TOOLS: Final[Mapping[str, Tool]] = {
    "list_solutions": Tool(title="List solutions", arguments=ListSolutions, answer=SolutionsPage, read=read_solutions),
    "search": Tool(title="Search a catalogue", arguments=Search, answer=HitsPage, read=read_hits),
    "list_discoveries": Tool(
        title="List modules, models, workflows or BI features",
        arguments=ListDiscoveries,
        answer=DiscoveriesPage,
        read=read_discoveries,
    ),
    "describe_model": Tool(title="Describe a model", arguments=DescribeModel, answer=Description, read=read_model),
    "describe_workflow": Tool(
        title="Describe a workflow", arguments=DescribeWorkflow, answer=Description, read=read_workflow
    ),
    "describe_bi_feature": Tool(
        title="Describe a BI feature", arguments=DescribeBiFeature, answer=Description, read=read_bi_feature
    ),
    "what_changed": Tool(title="List changes", arguments=WhatChanged, answer=ChangesPage, read=read_changes),
    "list_records": Tool(title="List copies of records", arguments=ListRecords, answer=RecordsPage, read=read_records),
    "list_jobs": Tool(title="List jobs", arguments=ListJobs, answer=JobsPage, read=read_jobs),
    "job_status": Tool(title="Job status", arguments=JobStatus, answer=JobAnswer, read=read_job),
}
"""The tools by name."""


def _with_shortened(value: Any, name: str, cut: Sequence[str], limit: int = _HEAD_BYTES) -> tuple[Any, list[str]]:
    short, is_cut = shortened(value, limit)
    return short, [*cut, name] if is_cut else [*cut]


def _position(cursor: str, kind: type[Any], *, default: Any) -> Any:
    position = decode_cursor(cursor) if cursor else default
    if not isinstance(position, kind):
        raise bad_cursor()
    return position


def _pair(cursor: str, *, default: tuple[int, int]) -> tuple[int, int]:
    """The row's id and the number of entries before the page."""
    match _position(cursor, list, default=list(default)):
        case [int(number), int(start)] if 0 <= number <= MAX_ID and 0 <= start <= MAX_ID:
            return number, start
        case _:
            raise bad_cursor()
