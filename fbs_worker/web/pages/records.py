"""Record pages: where the copies of mirrored models stand, and their rows by pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from fbs_worker.core.postgres import Connection
from fbs_worker.ops.records import (
    DELETED,
    REJECTED,
    Filter,
    RecordTable,
    find_table,
    name_columns,
    names_of,
    read_rows,
    record_states,
    side_table,
)
from fbs_worker.solutions.registry import SolutionRecord
from fbs_worker.web.pages.layout import both, layout_of, page_router, segment

router = page_router()

SIDES: Final[Mapping[str, str]] = {"rejected": REJECTED, "deleted": DELETED}

_PAGE_SIZE: Final = 50
_WIDTH: Final = 120
"""Characters of a value in a list; of one record by itself, `_FULL_WIDTH`."""

_FULL_WIDTH: Final = 10_000
_COLUMNS: Final = 8
"""Columns in a list; a record by itself has all."""

_FIRST: Final = ("odoo_id", "name", "complete_name", "display_name", "code", "ref", "state", "active")
_LAST: Final = ("id", "created_at", "updated_at", "create_uid", "create_date", "write_uid", "write_date")
_OWN: Final = ("column", "q", "cursor", "all")
"""Parameters of the pages; any other names a column."""

_MAX_QUERY: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value.

    Attributes:
        text: the value, cut to a width; None for NULL.
        link: the page of the record that it refers to; empty for others.
        name: what that record is called.
    """

    text: str | None
    link: str = ""
    name: str = ""


def records_page(request: Request, name: str) -> Response:
    """Show where the copy of each mirrored model stands."""
    databases = request.app.state.databases
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        tables = record_states(connection, record)
    return layout_of(request).render(request, "records", name=name, tables=tables)


def rows_page(request: Request, name: str, table: str) -> Response:
    """Look through the rows of a table."""
    return _rows_page(request, name, table, "")


def rejected_page(request: Request, name: str, table: str) -> Response:
    """Look through the records that a table cannot hold."""
    return _rows_page(request, name, table, "rejected")


def deleted_page(request: Request, name: str, table: str) -> Response:
    """Look through the records of a table that were deleted in Odoo."""
    return _rows_page(request, name, table, "deleted")


def _rows_page(request: Request, name: str, table: str, side: str) -> Response:
    params = request.query_params
    column, text = params.get("column", ""), params.get("q", "")[:_MAX_QUERY].strip()
    databases = request.app.state.databases
    record: SolutionRecord = databases.solution(name)
    with databases.connection(record.database) as connection:
        found = find_table(connection, record, table)
        read = side_table(connection, record, found, SIDES[side]) if side else found
        exact = {key: value for key, value in params.items() if key in read.columns and key not in _OWN}
        filters = [Filter(column=key, value=value) for key, value in exact.items()]
        if text and column in read.columns:
            filters.append(Filter(column=column, value=text, contains=True))
        is_one = not side and exact.keys() >= set(read.key)
        columns = list(read.columns) if is_one or side or "all" in params else _shown(read)
        page = read_rows(
            connection,
            read,
            filters=filters,
            cursor=params.get("cursor", ""),
            limit=_PAGE_SIZE,
            columns=columns,
            width=_FULL_WIDTH if is_one else _WIDTH,
        )
        rows = _cells(connection, read, page.rows, f"/solutions/{segment(name)}/records/")
        states = record_states(connection, record)
    kept = {**exact, **({"column": column, "q": text} if text else {}), **({"all": "1"} if "all" in params else {})}
    return layout_of(request).render(
        request,
        "rows",
        name=name,
        table=found,
        read=read,
        side=side,
        state=next((each for each in states if each["table"] == table), None),
        columns=[each for each in columns if each in read.columns],
        labels=read.labels,
        rows=rows,
        is_one=is_one and len(rows) == 1 and not found.is_link,
        exact=exact,
        column=column,
        text=text,
        is_wide="all" in params,
        cursor=params.get("cursor", ""),
        following=page.next,
        query=urlencode(kept),
    )


def _shown(table: RecordTable) -> list[str]:
    """The columns of a list: what a record is called, then what it refers to, then the others."""

    def rank(name: str) -> int:
        if name in _FIRST:
            return _FIRST.index(name)
        return len(_FIRST) + (2 if name in _LAST else 0 if name in table.relations else 1)

    chosen = sorted(table.columns, key=rank)[:_COLUMNS]
    return [*(each for each in table.key if each not in chosen), *chosen]


def _cells(
    connection: Connection, table: RecordTable, rows: Sequence[Mapping[str, Any]], base: str
) -> list[dict[str, Cell]]:
    """The values of a page; those that refer to a mirrored record with a link and its name."""
    ids: dict[str, set[int]] = {}
    for row in rows:
        for column, target in table.relations.items():
            if row.get(column) is not None:
                ids.setdefault(target, set()).add(int(row[column]))
    called = name_columns(connection, ids)
    names = {target: names_of(connection, target, called[target], ids[target]) for target in called}
    own = {"odoo_id": table.where.get("table_name", table.name)} if "odoo_id" in table.columns else {}
    return [
        {column: _cell(column, value, {**table.relations, **own}, names, base) for column, value in row.items()}
        for row in rows
    ]


def _cell(
    column: str, value: Any, relations: Mapping[str, str], names: Mapping[str, Mapping[int, str]], base: str
) -> Cell:
    text = None if value is None else str(value)
    if text is None or column not in relations:
        return Cell(text=text)
    target = relations[column]
    name = "" if column == "odoo_id" else names.get(target, {}).get(int(text), "")
    return Cell(text=text, link=f"{base}{segment(target)}/?odoo_id={text}", name=name)


for _path in both("/solutions/{name}/records/"):
    router.add_api_route(_path, records_page, methods=["GET"])
for _path in both("/solutions/{name}/records/{table}/"):
    router.add_api_route(_path, rows_page, methods=["GET"])
for _path in both("/solutions/{name}/records/{table}/rejected/"):
    router.add_api_route(_path, rejected_page, methods=["GET"])
for _path in both("/solutions/{name}/records/{table}/deleted/"):
    router.add_api_route(_path, deleted_page, methods=["GET"])
