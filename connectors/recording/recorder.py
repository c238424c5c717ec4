"""Record an Odoo: all rows of every table that a read needs, for all domains.

A recording contains names, types, relations, states, buttons with their conditions, versions and dates; no help texts,
view sources, code or business data. Tables that the user may not read are recorded as denied, and the replay denies
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.reader import Reader, Row, related_id
from fbs_worker.connectors.recording.file_format import RecordedTable, Recording, write_recording
from fbs_worker.connectors.recording.view_skeleton import skeletons
from fbs_worker.connectors.tables import FIELDS, MODELS, TABLES, VIEWS, Table
from fbs_worker.core.errors import OdooAccessDenied, OdooModelMissing
from fbs_worker.core.progress import Progress

_BY_INVERSE: Final = frozenset({"dependencies_id"})
"""Relations that a replay derives from their inverse field; Odoo lists them slowly."""


def record(
    transport: Transport, path: Path, *, page_size: int = 20_000, lang: str = "en_US", progress: Progress
) -> dict[str, Any]:
    """Record an Odoo.

    Args:
        transport: an open transport.
        path: the file to write: `.json.xz`, or `.json` for an uncompressed file.
        page_size: maximum rows per call.
        lang: language of labels.
        progress: receives the steps and each table.

    Returns:
        `path`, `bytes` (size of the file), `rows` by table, `denied` (groups that grant access, by table), `calls`.

    Raises:
        RecordingError: the file cannot be written.
        FBSError: a call of Odoo failed.
    """
    reader = Reader(transport, page_size=page_size, lang=lang)
    denied: dict[str, list[str]] = {}
    progress.step("tables", total=len(TABLES))
    _probe(reader)
    tables: dict[str, RecordedTable] = {}
    for table in TABLES.values():
        try:
            tables[table.model] = _table(reader, table)
        except OdooAccessDenied as exc:
            denied[table.model] = list(exc.context.get("groups") or [])
        except OdooModelMissing:
            pass  # the table's module is not installed
        progress.advance(1, message=table.model)
    available, fields = _described(reader, progress) if FIELDS in denied or MODELS in denied else ([], {})
    progress.step("writing")
    server = transport.server
    recording = Recording(
        series=server.series,
        database=server.database,
        tables=tables,
        fields=fields,
        available=available,
        denied=denied,
    )
    write_recording(path, recording)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "rows": {model: len(table.rows) for model, table in tables.items()},
        "denied": denied,
        "calls": transport.calls,
    }


def _probe(reader: Reader) -> None:
    try:
        for _ in reader.probe(list(TABLES)):
            pass
    except OdooAccessDenied:
        return  # the columns of each table are read by a call of its own


def _table(reader: Reader, table: Table) -> RecordedTable:
    existing = reader.columns(table.model)
    if not existing:
        raise OdooModelMissing(f"This Odoo has no model {table.model}.")
    columns = [
        "id",
        *(
            name
            for name in (*table.columns, *table.optional, *table.recorded)
            if name in existing and name not in _BY_INVERSE
        ),
    ]
    context = {"active_test": False} if table.archived else {}
    rows: Iterable[Row] = (
        row for page in reader.pages(table.model, list(table.domain), columns, context=context) for row in page
    )
    if table.model == VIEWS:
        rows = skeletons(rows)
    return RecordedTable(columns=columns, rows=[[_plain(row.get(column)) for column in columns] for row in rows])


def _plain(value: Any) -> Any:
    """Reduce a many2one with display name to its id."""
    is_pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    return related_id(value) if is_pair and isinstance(value[1], str) else value


def _described(reader: Reader, progress: Progress) -> tuple[list[dict[str, str]], dict[str, dict[str, dict[str, Any]]]]:
    """For a user without access rights: the readable models, and `fields_get` of each and of `TABLES`."""
    available = reader.available_models()
    progress.step("fields")
    fields: dict[str, dict[str, dict[str, Any]]] = {}
    for model in sorted({*TABLES, *(entry["model"] for entry in available)}):
        try:
            fields[model] = reader.described(model)
        except (OdooAccessDenied, OdooModelMissing):
            continue  # the replay reports the missing description
        progress.advance(1, message=model)
    return available, fields
